from __future__ import annotations

from pathlib import Path

from training.run.journal import FILE, Journal, read


def test_a_journal_entered_again_forgets_what_came_later(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 0)
    for step in range(1, 6):
        journal.write(step, loss=float(step))
    journal.close()
    path = tmp_path / FILE
    path.write_text(path.read_text() + '{"step": 6, "lo')  # killed in the middle of a line
    again = Journal(tmp_path, 3)
    again.write(4, loss=0.5)
    again.close()
    assert [line["loss"] for line in read(tmp_path)] == [1, 2, 3, 0.5]


def test_lines_that_are_no_objects_are_left_out(tmp_path: Path) -> None:
    assert read(tmp_path) == []
    (tmp_path / FILE).write_text('{"step": 1}\n7\n\n{"step": 2, "wa\n{"step": 3}\n')
    assert read(tmp_path) == [{"step": 1}, {"step": 3}]


def test_how_a_run_began_is_kept_with_it_and_forgotten_by_another(tmp_path: Path) -> None:
    first = Journal(tmp_path, 0)
    first.write(0, init="weights.pth")
    first.write(2, loss=1.0)
    first.close()
    Journal(tmp_path, 1).close()
    assert [line["step"] for line in read(tmp_path)] == [0]
    Journal(tmp_path, 0).close()
    assert read(tmp_path) == []
