"""Every error that a caller can see, one class each, with its HTTP status and its stable code.

AmclError
├── BadRequest                  400 bad_request
│   ├── UndecodableImage        400 undecodable_image       (one image)
│   └── EmptyImage              400 empty_image             (one image)
├── Unauthorized                401 unauthorized            WWW-Authenticate
├── Forbidden                   403 forbidden               WWW-Authenticate
├── NotFound                    404 not_found
│   ├── ModelNotFound           404 model_not_found
│   ├── CollectionNotFound      404 collection_not_found
│   ├── PointNotFound           404 point_not_found
│   ├── SnapshotNotFound        404 snapshot_not_found
│   └── EvaluationNotFound      404 evaluation_not_found
├── Conflict                    409 conflict
│   ├── CollectionExists        409 collection_exists
│   ├── CollectionMismatch      409 collection_mismatch
│   ├── ModelBusy               409 model_busy
│   ├── LoadFailed              409 load_failed
│   └── EvaluationUnfinished    409 evaluation_unfinished
├── TooLarge                    413 too_large
│   ├── BodyTooLarge            413 body_too_large
│   ├── TooManyItems            413 too_many_items
│   └── ImageTooLarge           413 image_too_large         (one image)
├── UnsupportedImage            415 unsupported_image       (one image)
├── UnsupportedMediaType        415 unsupported_media_type
├── InvalidRequest              422 invalid_request
├── Overloaded                  429 overloaded              Retry-After
│   └── TooManyEvaluations      429 too_many_evaluations    Retry-After
├── HeadTooLarge                431 head_too_large
├── NotReady                    503 not_ready               Retry-After
├── DeadlineExceeded            504 deadline_exceeded
├── StorageFull                 507 storage_full
├── StorageDamaged              500 storage_damaged
├── UnreadableFile              500 unreadable_file         (never over HTTP: a file of the command's own machine)
├── Unreachable                 500 unreachable             (never over HTTP: the client found no server)
├── UnexpectedAnswer            500 unexpected_answer       (never over HTTP: the client does not know the answer)
└── StartupError                500 startup_error           (never over HTTP: the command exits)
    ├── BundleError             500 bundle_error
    ├── ProviderUnavailable     500 provider_unavailable
    └── StorageError            500 storage_error

"(one image)" errors belong to one item of a request: the request's other images are still answered. An error of a
whole request that is due to some of its items lists them as `items`, which problem documents call `errors`.
The message of an error is written for the caller: it names what was wrong and what would be right, and
holds no path of the server, no stack and no library's internals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class ItemFault:
    """What is wrong with one item of a request: the `index`-th of what came as `operand`, by its name in the API."""

    operand: str
    index: int
    code: str
    detail: str


class AmclError(Exception):
    """Base of the tree; `detail` is the sentence shown to the caller, `items` the parts of the request it is due to."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    retry_after: ClassVar[int | None] = None  # seconds, sent as Retry-After
    challenge: ClassVar[str | None] = None  # sent as WWW-Authenticate

    def __init__(self, detail: str, items: Sequence[ItemFault] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.items = tuple(items)


class BadRequest(AmclError):
    """The request is malformed in a way that no schema describes."""

    status, code = 400, "bad_request"


class UndecodableImage(BadRequest):
    """The bytes claim to be an image and cannot be decoded as one."""

    code = "undecodable_image"


class EmptyImage(BadRequest):
    """Zero bytes where an image was expected."""

    code = "empty_image"


class Unauthorized(AmclError):
    """The request has no key, or one that the server does not know."""

    status, code, challenge = 401, "unauthorized", 'Bearer realm="amcl-serve"'


class Forbidden(AmclError):
    """The request would write, and its key is read-only."""

    status, code, challenge = 403, "forbidden", 'Bearer realm="amcl-serve", error="insufficient_scope"'


class NotFound(AmclError):
    """No such thing."""

    status, code = 404, "not_found"


class ModelNotFound(NotFound):
    """No model of that name is loaded."""

    code = "model_not_found"


class CollectionNotFound(NotFound):
    """No collection of that name."""

    code = "collection_not_found"


class PointNotFound(NotFound):
    """No point with that id in the collection."""

    code = "point_not_found"


class SnapshotNotFound(NotFound):
    """No snapshot of that name of the collection."""

    code = "snapshot_not_found"


class EvaluationNotFound(NotFound):
    """No evaluation of that id."""

    code = "evaluation_not_found"


class Conflict(AmclError):
    """The request contradicts what is stored."""

    status, code = 409, "conflict"


class CollectionExists(Conflict):
    """A collection of that name exists already."""

    code = "collection_exists"


class CollectionMismatch(Conflict):
    """The collection's vectors come from another model, or have another size."""

    code = "collection_mismatch"


class ModelBusy(Conflict):
    """A model of that name is being loaded or unloaded."""

    code = "model_busy"


class LoadFailed(Conflict):
    """The bundle cannot be loaded as it lies in its folder; what was loaded before goes on answering."""

    code = "load_failed"


class EvaluationUnfinished(Conflict):
    """The evaluation is not done, so that it has no report."""

    code = "evaluation_unfinished"


class TooLarge(AmclError):
    """More than a limit allows."""

    status, code = 413, "too_large"


class BodyTooLarge(TooLarge):
    """The whole request has too many bytes."""

    code = "body_too_large"


class TooManyItems(TooLarge):
    """The request has too many images, pairs or points."""

    code = "too_many_items"


class ImageTooLarge(TooLarge):
    """One image has too many pixels, by its header."""

    code = "image_too_large"


class UnsupportedImage(AmclError):
    """The bytes are no image of an allowed format."""

    status, code = 415, "unsupported_image"


class UnsupportedMediaType(AmclError):
    """The request's content type is none that the route reads."""

    status, code = 415, "unsupported_media_type"


class InvalidRequest(AmclError):
    """The request does not fit the route's schema."""

    status, code = 422, "invalid_request"


class Overloaded(AmclError):
    """The queue is full; nothing of the request was started."""

    status, code, retry_after = 429, "overloaded", 1


class TooManyEvaluations(Overloaded):
    """As many evaluations wait for their turn as may."""

    code, retry_after = "too_many_evaluations", 30


class HeadTooLarge(AmclError):
    """The request's line and headers have too many bytes; the connection is closed."""

    status, code = 431, "head_too_large"


class NotReady(AmclError):
    """The server is starting, draining, or has lost a stage."""

    status, code, retry_after = 503, "not_ready", 2


class DeadlineExceeded(AmclError):
    """The request waited longer than the deadline."""

    status, code = 504, "deadline_exceeded"


class StorageDamaged(AmclError):
    """The file of the collections does not say what it should."""

    status, code = 500, "storage_damaged"


class StorageFull(AmclError):
    """The disk has no room; nothing was acknowledged."""

    status, code = 507, "storage_full"


class UnreadableFile(AmclError):
    """A file on the command's own machine that cannot be read; the others go on."""

    code = "unreadable_file"


class Unreachable(AmclError):
    """The client got no answer: no server listens there, or the connection broke."""

    code = "unreachable"


class UnexpectedAnswer(AmclError):
    """The client got an answer that is none of amcl-serve's, or of a version that it does not know."""

    code = "unexpected_answer"


class StartupError(AmclError):
    """The command cannot go on; it prints `detail` and exits with 1."""

    code = "startup_error"


class BundleError(StartupError):
    """The bundle is missing, incomplete, altered, or of a schema that this version does not read."""

    code = "bundle_error"


class ProviderUnavailable(StartupError):
    """The execution provider that was asked for did not load."""

    code = "provider_unavailable"


class StorageError(StartupError):
    """The collections' folder cannot be used."""

    code = "storage_error"
