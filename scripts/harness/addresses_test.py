import tempfile
import unittest
from pathlib import Path

from harness import addresses
from harness.addresses import Address, parse
from results.errors import Stop


class Parsing(unittest.TestCase):
    def test_every_form(self) -> None:
        for text, host, user, port in (
                ("a", "a", None, None), ("a.example.org", "a.example.org", None, None),
                ("me@a", "a", "me", None), ("me@a:2222", "a", "me", 2222), ("a:22", "a", None, 22),
                ("10.0.0.1", "10.0.0.1", None, None), ("fd00::1", "fd00::1", None, None),
                ("::1", "::1", None, None), ("me@fd00::1", "fd00::1", "me", None),
                ("[fd00::1]", "fd00::1", None, None), ("me@[fd00::1]:2222", "fd00::1", "me", 2222),
                ("fe80::1%eth0", "fe80::1%eth0", None, None), ("ssh://me@a:2222", "a", "me", 2222)):
            with self.subTest(text=text):
                self.assertEqual(parse(text), Address(host, user, port))

    def test_what_it_prints_can_be_read_again(self) -> None:
        for text in ("a", "me@a:22", "fd00::1", "me@[fd00::1]:22"):
            self.assertEqual(str(parse(text)), text)

    def test_what_is_no_host(self) -> None:
        for text in ("", "-oProxyCommand=x", "me@", "@a", "a b", "a:", "a:0", "a:65536", "a:x", "[::1",
                     "[::1]22", "me@-a", "-me@a", "a;b", "$(x)", "a:٣"):
            with self.subTest(text=text), self.assertRaises(ValueError):
                parse(text)

    def test_ssh_cannot_take_a_host_for_a_flag(self) -> None:
        self.assertEqual(parse("me@a:22").flags(), ["-l", "me", "-p", "22", "--", "a"])


class Files(unittest.TestCase):
    def read(self, text: bytes) -> list[Address]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "hosts.txt")
            path.write_bytes(text)
            return addresses.read(path)

    def test_comments_and_empty_lines_count_for_nothing(self) -> None:
        found = self.read(b"# all of them\n\n  a  \n\tme@b:22 # the second\r\n#c\n[fd00::1]:22\n")
        self.assertEqual(list(map(str, found)), ["a", "me@b:22", "[fd00::1]:22"])

    def test_a_fault_names_its_line(self) -> None:
        for text, words in ((b"a\n\nb c\n", "hosts.txt:3: 'b c'"),
                            (b"a\nme@a\na\n", ":3: a stands in line 1"),
                            (b"# none\n", "no host"), (b"", "no host"), (b"\xff\xfe", "not a text")):
            with self.subTest(text=text), self.assertRaisesRegex(Stop, words) as caught:
                self.read(text)
            self.assertEqual(caught.exception.code, 2)

    def test_a_file_that_is_not_there(self) -> None:
        with self.assertRaisesRegex(Stop, "--clients /nothing: No such file"):
            addresses.read(Path("/nothing"))


if __name__ == "__main__":
    unittest.main()
