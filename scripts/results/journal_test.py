import errno
import json
import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from results import journal, manifest
from results.cell import Cell, Measurement
from results.errors import Stop, Unreadable
from results.sample import Sample


def made(round_: int, **fields: object) -> Sample:
    return Sample.of(Measurement("load", round_, Cell("respond", "default", "asio", "lazy", 4)),
                     **fields)


class Scratch(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        self.file = self.folder / journal.SAMPLES

    def rounds(self) -> list[int]:
        return [each.round for each in journal.read(self.folder)]

    def tear(self, text: str = '{"id": "r03/resp') -> None:
        with self.file.open("a") as out:
            out.write(text)


class Journal(Scratch):
    def test_samples_come_back_as_written(self) -> None:
        self.assertEqual(journal.read(self.folder), [])
        written = [made(number, order=number, rps=1.5) for number in range(3)]
        for each in written:
            journal.append(self.folder, each)
        self.assertEqual(journal.read(self.folder), written)

    def test_a_torn_last_line_does_not_count_and_reading_leaves_the_file_alone(self) -> None:
        journal.append(self.folder, made(1))
        whole = json.dumps(made(2).to_json())
        for torn in ('{"id": "r02/resp', whole):
            with self.subTest(torn=torn):
                self.tear(torn)
                before = self.file.read_bytes()
                self.assertEqual(self.rounds(), [1])
                self.assertEqual(self.file.read_bytes(), before)
                journal.append(self.folder, made(1))

    def test_the_next_sample_takes_the_place_of_a_torn_line(self) -> None:
        journal.append(self.folder, made(1))
        self.tear()
        journal.append(self.folder, made(2))
        self.assertEqual(self.rounds(), [1, 2])
        self.assertEqual(len(self.file.read_text().splitlines()), 2)

    def test_failed_measurements_are_due_again_and_the_other_lines_stay_as_they_are(self) -> None:
        journal.append(self.folder, made(1))
        first = self.file.read_bytes().replace(b"{", b'{ "of another version": 1, ', 1)
        self.file.write_bytes(first)
        journal.append(self.folder, made(2, valid=False))
        self.tear()
        self.assertEqual([each.round for each in journal.drop_failed(self.folder)], [1])
        self.assertEqual(self.file.read_bytes(), first)

    def test_the_last_line_of_an_id_counts(self) -> None:
        journal.append(self.folder, made(1, rps=1.0))
        journal.append(self.folder, made(1, rps=42.0))
        self.assertEqual([each.rps for each in journal.read(self.folder)], [42.0])

    def test_a_whole_line_that_is_no_sample_is_an_error_with_its_number(self) -> None:
        journal.append(self.folder, made(1))
        for line in ("{}\n", "not JSON\n", "[]\n"):
            with self.subTest(line=line):
                self.file.write_bytes(self.file.read_bytes().splitlines(True)[0])
                self.tear(line)
                journal_end = self.file.stat().st_size
                with self.assertRaisesRegex(Unreadable, "samples.jsonl:2: not a sample") as caught:
                    journal.read(self.folder)
                self.assertNotIn("\n", str(caught.exception))
                self.assertEqual(self.file.stat().st_size, journal_end)

    def test_not_a_number_is_never_written(self) -> None:
        with self.assertRaises(ValueError):
            journal.append(self.folder, made(1, rps=float("nan")))


class FullDisk(Scratch):
    """One line that names the file, and nothing half written is left."""

    def cannot(self, function: str) -> mock._patch:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return mock.patch.object(os, function, side_effect=full)

    def refused(self, action) -> str:
        with self.assertRaises(Stop) as caught:
            action()
        self.assertEqual(caught.exception.code, 3)
        self.assertIn("No space left on device", str(caught.exception))
        return str(caught.exception)

    def test_a_manifest(self) -> None:
        manifest.write(self.folder, {"schema": manifest.SCHEMA, "id": "old"})
        with self.cannot("replace"):
            said = self.refused(lambda: manifest.write(self.folder, {"schema": manifest.SCHEMA}))
        self.assertIn(str(self.folder), said)
        self.assertEqual(manifest.read(self.folder)["id"], "old")
        self.assertEqual(os.listdir(self.folder), [manifest.MANIFEST])

    def test_a_sample(self) -> None:
        with self.cannot("fsync"):
            said = self.refused(lambda: journal.append(self.folder, made(1)))
        self.assertIn(str(self.file), said)


class Manifest(Scratch):
    def test_there_and_back(self) -> None:
        self.assertIsNone(manifest.read(self.folder))
        manifest.write(self.folder / "new", {"schema": manifest.SCHEMA, "id": "x"})
        self.assertEqual(manifest.read(self.folder / "new")["id"], "x")

    def test_one_that_is_torn_or_of_another_schema_is_refused(self) -> None:
        for text in ("{", '{"schema": "other/9"}', "[]"):
            (self.folder / manifest.MANIFEST).write_text(text)
            with self.assertRaises(Stop) as caught:
                manifest.read(self.folder)
            self.assertEqual(caught.exception.code, 2)


if __name__ == "__main__":
    unittest.main()
