"""The methods of /evaluations, and of a model's calibration."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import orjson

from amcl_serve.client._blocking.sending import Sender
from amcl_serve.client.calls import ERRORS, Call, checked, options, read
from amcl_serve.client.shapes import Calibrated, Evaluation
from amcl_serve.errors import AmclError

Protocol = Literal["auto", "label_free", "labelled", "verification"]

_SHORTEST, _LONGEST = 0.1, 2.0  # seconds between looks at how far it is


class Evaluations(Sender):
    """What a model is worth on somebody's images, and its calibration to their pairs."""

    def evaluate(
        self,
        archive: str | os.PathLike[str] | None = None,
        *,
        collection: str | None = None,
        protocol: Protocol = "auto",
        labels: str | None = None,
        seed: int = 0,
        limit: int | None = None,
        model: str | None = None,
        against: str | None = None,
        wait: bool = True,
        progress: Callable[[Evaluation], None] | None = None,
    ) -> Evaluation:
        """Evaluate a model on the images of an archive (zip or tar, by its path) or of a collection; ValueError for
        both or neither.

        `labels` is a key of the collection's payloads; an archive's are its folders. `against` is another loaded model
        to compare with. Returns when it has ended, with its `result`, and raises the error of one that failed; without
        `wait`, returns at once. `progress` is told how it stands meanwhile. Raises TooManyEvaluations where as many
        wait as the server takes.
        """
        if (archive is None) == (collection is None):
            raise ValueError("an evaluation is of an archive or of a collection, and of one of them")
        asked: dict[str, Any] = {
            "protocol": protocol,
            "labels": labels,
            "seed": seed,
            "limit": limit,
            "model": model,
            "against": against,
        }
        if archive is None:
            body = options(asked | {"collection": collection})
            response = self._send(Call.json("POST", "/evaluations", body, idempotent=False, patient=False))
            job: Evaluation = read(checked(response), lambda: orjson.loads(response.content))
        else:
            job = self._upload("/evaluations", archive, asked)
        return self._ended(job, progress) if wait else job

    def evaluations(self) -> list[Evaluation]:
        """Those that the server works on or keeps, the newest first, without their results."""
        response = checked(self._send(Call("GET", "/evaluations")))
        return read(response, lambda: list(orjson.loads(response.content)["data"]))

    def evaluation(self, name: str) -> Evaluation:
        """How far the evaluation of that id is and, where it is done, its result; raises EvaluationNotFound."""
        response = checked(self._send(Call("GET", _path(name))))
        found: Evaluation = read(response, lambda: orjson.loads(response.content))
        return found

    def cancel(self, name: str) -> Literal["cancelled", "removed", "absent"]:
        """Cancel an evaluation that has not ended; remove one that has, with its report."""
        response = checked(self._send(Call("DELETE", _path(name))))
        outcome: Literal["cancelled", "removed", "absent"] = read(
            response, lambda: orjson.loads(response.content)["outcome"]
        )
        return outcome

    def report(self, name: str) -> str:
        """The page of an evaluation that is done, as HTML; raises EvaluationUnfinished for another."""
        return checked(self._send(Call("GET", f"{_path(name)}/report"))).text

    def calibrate(
        self,
        archive: str | os.PathLike[str],
        *,
        model: str = "default",
        false_accept_rate: float | None = None,
        false_accept_cost: float | None = None,
        false_reject_cost: float | None = None,
        seed: int = 0,
    ) -> Calibrated:
        """Calibrate a model to the pairs of an archive: `pairs.csv` and images, or a folder for each thing shown.

        `same` is from then on true where the probability is above a half, or by a rate, or by costs.
        """
        asked = {
            "false_accept_rate": false_accept_rate,
            "false_accept_cost": false_accept_cost,
            "false_reject_cost": false_reject_cost,
            "seed": seed,
        }
        found: Calibrated = self._upload(f"/models/{quote(model, safe='')}/calibrate", archive, asked)
        return found

    def uncalibrate(self, model: str = "default") -> bool:
        """Let the model's card say again what a score is worth; whether something else did."""
        response = checked(self._send(Call("DELETE", f"/models/{quote(model, safe='')}/calibration")))
        return read(response, lambda: bool(orjson.loads(response.content)["outcome"] == "removed"))

    def _upload(self, path: str, archive: str | os.PathLike[str], asked: dict[str, Any]) -> Any:
        """Send a file from the disk, a piece at a time, and once: nobody sends gigabytes again unasked."""
        with Path(archive).open("rb") as stream:
            call = Call(
                "POST",
                path,
                upload=("archive", (Path(archive).name, stream)),
                data={name: str(value) for name, value in options(asked).items()},
                idempotent=False,
                patient=False,
            )
            response = checked(self._send(call))
        return read(response, lambda: orjson.loads(response.content))

    def _ended(self, job: Evaluation, progress: Callable[[Evaluation], None] | None) -> Evaluation:
        pause = _SHORTEST
        while job["status"] in ("queued", "running"):
            self._sleep(pause)
            pause = min(2 * pause, _LONGEST)
            job = self.evaluation(job["id"])
            if progress is not None:
                progress(job)
        if job["status"] == "failed" and job["error"] is not None:
            raise ERRORS.get(job["error"]["code"], AmclError)(job["error"]["detail"])
        return job


def _path(name: str) -> str:
    return f"/evaluations/{quote(name, safe='')}"
