import unittest

from harness import fold
from harness.fold import parse, shorten
from results import folded

SCRIPT = """idlewheel-serve  4711 
\tffffffff81a3b2c1 tcp_sendmsg_locked ([kernel.kallsyms])
\tffffffff81a3b2c1 __x64_sys_sendto ([kernel.kallsyms])
\tffffffff81a3b2c1 entry_SYSCALL_64_after_hwframe ([kernel.kallsyms])
\t           10e6a4 __libc_send (/usr/lib/x86_64-linux-gnu/libc.so.6)
\t            5f0a1 server::Connection<timers::AsioDriver<timers::OrderedList, timers::NoTrace> >::on_writable(boost::system::error_code) (/opt/idlewheel-server)
\t            5f0a1 main (/opt/idlewheel-server)
\t            2724a __libc_start_call_main (/usr/lib/x86_64-linux-gnu/libc.so.6)
\t            27305 __libc_start_main@@GLIBC_2.34 (/usr/lib/x86_64-linux-gnu/libc.so.6)
\t            21a41 _start (/opt/idlewheel-server)

idlewheel-serve  4711 
\t            5f0a1 timers::OrderedList::rearm(timers::ListNode&, unsigned long, unsigned long) (/opt/idlewheel-server)
\t            5f0a1 server::Connection<timers::AsioDriver<timers::OrderedList, timers::NoTrace> >::on_input(boost::system::error_code) (/opt/idlewheel-server)
\t            5f0a1 main (/opt/idlewheel-server)
\t            21a41 _start (/opt/idlewheel-server)

idlewheel-serve  4711 PERF_RECORD_LOST lost 42

idlewheel-serve  4711 
\t     7f1122334455 [unknown] (/usr/lib/x86_64-linux-gnu/libc.so.6)
\t            5f0a1 server::serve(server::Options const&) (/opt/idlewheel-server)

"""


class Parse(unittest.TestCase):
    def test_stacks_lost_and_broken(self) -> None:
        profile = parse(SCRIPT)
        self.assertEqual((profile.stacks.total(), profile.broken, profile.lost), (3, 1, 42))
        self.assertIn(("idlewheel-serve", "_start", "main", "server::Connection::on_input",
                       "timers::OrderedList::rearm"), profile.stacks)
        self.assertIn(("idlewheel-serve", fold.LOST_FRAME, "server::serve", "[libc.so.6]"),
                      profile.stacks)

    def test_a_thread_of_ours_is_a_whole_stack(self) -> None:
        frames = ["[libstdc++.so.6.0.30]", "std::thread::_State_impl::_M_run", "server::serve"]
        self.assertFalse(fold._is_broken(frames))
        self.assertTrue(fold._is_broken(["__send", "entry_SYSCALL_64_after_hwframe_[k]"]))

    def test_kernel_frames_are_marked(self) -> None:
        sending = next(s for s in parse(SCRIPT).stacks if "server::Connection::on_writable" in s)
        self.assertEqual(sending[-1], "tcp_sendmsg_locked_[k]")
        self.assertIn("__libc_send", sending)

    def test_nothing_gives_nothing(self) -> None:
        self.assertEqual(parse("").stacks.total(), 0)

    def test_recursion_and_plumbing_collapse(self) -> None:
        frames = ["main", "f", "f", "f", "asio::initiate_async_write::operator()",
                  "asio::executor_function::complete", "g", "f"]
        self.assertEqual(fold._collapse(frames), ["main", "f", fold.PLUMBING_FRAME, "g", "f"])


def script(file: str, stacks: int = 1, symbol: str = "timers::OrderedList::rearm(unsigned long)",
           root: str = "main", kernel: str = "") -> str:
    """perf's text of equal stacks of the server, whose binary is the file."""
    frames = [f"{kernel} ([kernel.kallsyms])"] if kernel else []
    frames += [f"{symbol} ({file})", f"{root} ({file})",
               "__libc_start_call_main (/usr/lib/libc.so.6)"]
    return "".join(["idlewheel-serve  4711 \n", *(f"\t  5f0a1 {f}\n" for f in frames), "\n"]) * stacks


class Files(unittest.TestCase):
    """The path of the program may be any; what stands in the profile is the same."""

    PATHS = ["/opt/idlewheel (1)/idlewheel-server", "/a b/idlewheel-server", "/((/x", "/))/x",
             "/x) (/y", "/a [k]/[b]/idlewheel-server", "/\"q\" 'r'/x", "/gr\u00fcn/x",
             "/\ufffd\ufffd/x", "/a;b/x", "/x (deleted)", "/a (deleted)/x (deleted)", "/a\r\x0b\x0c/x",
             "/a\x85\u2028/x", "/x.ko/y", "(unreachable)/a (1)/x", "/main (/opt/z)/x", "/+0x1 (/x"]

    def test_symbols_are_found_whatever_the_path(self) -> None:
        wanted = ("idlewheel-serve", "__libc_start_call_main", "main", "timers::OrderedList::rearm")
        for path in self.PATHS:
            with self.subTest(path=path):
                found = parse(script(path))
                self.assertEqual((list(found.stacks), found.broken), ([wanted], 0))

    def test_symbols_may_hold_parentheses_too(self) -> None:
        for path in self.PATHS:
            with self.subTest(path=path):
                found = parse(script(path, symbol="std::enable_if<(sizeof (int)) > (3), int>::type "
                                                  "server::g<int>(int (*) [3]) const"))
                self.assertEqual(list(found.stacks)[0][-1], "server::g")

    def test_a_frame_without_a_name_shows_its_file_and_separates_nothing(self) -> None:
        names = {"/opt/idlewheel (1)/lib x.so": "[lib x.so]", "/opt/x.so (deleted)": "[x.so]",
                 "/a;b/c;d\r.so": "[c:d:.so]", "[vdso]": "[vdso]", "//anon": "[anon]",
                 "[unknown]": "[unknown]", "inlined": "[inlined]", "[nf_tables]": "[nf_tables]_[k]",
                 "[kernel.kallsyms]": "[kernel.kallsyms]_[k]",
                 "/lib/modules/6.1/kernel/net/veth.ko.xz": "[veth.ko.xz]_[k]"}
        for file, name in names.items():
            with self.subTest(file=file):
                found = parse(script(file, symbol="[unknown]"))
                self.assertEqual(list(found.stacks)[0][-1], name)
                self.assertEqual(folded.from_text(folded.to_text(found.stacks)), found.stacks)

    def test_the_kernel_is_known_by_its_address_where_its_names_are_hidden(self) -> None:
        hidden = script("/x").replace("5f0a1 timers", "ffffffff81a3b2c1 [unknown] ([unknown])\n"
                                      "\t5f0a1 timers")
        self.assertEqual(list(parse(hidden).stacks)[0][-1], "[unknown]_[k]")


class Faults(unittest.TestCase):
    def fault(self, text: str, system_share: float = 0.5) -> str:
        return fold.fault(parse(text), system_share) or ""

    def test_a_profile_with_names_and_kernel_frames_has_none(self) -> None:
        self.assertEqual(self.fault(script("/x", 60) + script("/x", 40, kernel="tcp_sendmsg")), "")

    def test_no_stacks(self) -> None:
        self.assertIn("no stacks", self.fault(""))

    def test_a_stripped_binary(self) -> None:
        text = script("/x", 100, symbol="[unknown]", root="[unknown]", kernel="tcp_sendmsg")
        self.assertRegex(self.fault(text), r"no names: main or server:: .* 0% of 100 .*stripped")

    def test_the_bound_is_half_of_the_stacks(self) -> None:
        def text(named: int) -> str:
            return (script("/x", named, kernel="tcp_sendmsg") +
                    script("/x", 100 - named, "[unknown]", "[unknown]", "tcp_sendmsg"))

        self.assertEqual(self.fault(text(50)), "")
        self.assertIn("49% of 100", self.fault(text(49)))

    def test_frames_of_the_server_are_names_where_main_was_lost(self) -> None:
        text = script("/x", 9, "server::serve(int)", "[unknown]", "tcp_sendmsg")
        self.assertEqual(self.fault(text), "")

    def test_user_mode_alone_is_no_profile(self) -> None:
        found = self.fault(script("/x", 45), 0.64)
        self.assertIn("user mode only: no stack of 45", found)
        self.assertIn("64%", found)

    def test_a_server_that_hardly_enters_the_kernel_may_have_no_kernel_frame(self) -> None:
        self.assertEqual(self.fault(script("/x", 45), 0.01), "")
        self.assertEqual(self.fault(script("/x", 4), 0.9), "")


class Shorten(unittest.TestCase):
    CASES = {
        "timers::OrderedList::rearm(timers::ListNode&, unsigned long, unsigned long)":
            "timers::OrderedList::rearm",
        "void boost::asio::detail::executor_function::complete<boost::asio::detail::binder2<A<B>, "
        "int> >(boost::asio::detail::executor_function::impl_base*, bool)":
            "asio::executor_function::complete",
        "boost::beast::http::basic_parser<true>::put(boost::asio::const_buffer, "
        "boost::system::error_code&)": "beast::http::basic_parser::put",
        "server::Connection<timers::AsioDriver<timers::BinaryHeap> >::on_input(int)::"
        "{lambda(boost::system::error_code, unsigned long)#1}::operator()(int, long) const":
            "server::Connection::on_input::{lambda#1}::operator()",
        "(anonymous namespace)::run(int)": "{anonymous}::run",
        "server::(anonymous namespace)::Loop<int>::step(int) const &":
            "server::{anonymous}::Loop::step",
        "std::ostream& operator<< <char>(std::ostream&, char const*)": "operator<<",
        "bool operator< <int>(A<int> const&, A<int> const&)": "operator<",
        "X<int>::operator->() const": "X::operator->",
        "decltype(auto) f<(A)1>(int)": "f",
        "std::enable_if<(sizeof (int)) > (3), int>::type g<int>(int)": "g",
        "operator new(unsigned long)": "operator new",
        "operator new[](unsigned long)": "operator new[]",
        "operator delete(void*, unsigned long)": "operator delete",
        "timers::HierarchicalWheel::advance(unsigned long) [clone .isra.0]":
            "timers::HierarchicalWheel::advance",
        "timers::run_action(timers::Action) [clone .cold]": "timers::run_action",
        "std::__cxx11::basic_string<char>::append(char const*)": "std::basic_string::append",
        "malloc": "malloc",
        "tcp_sendmsg": "tcp_sendmsg",
    }

    def test_cases(self) -> None:
        for full, short in self.CASES.items():
            self.assertEqual(shorten(full), short, full)

    def test_backends_of_a_template_align(self) -> None:
        names = {shorten(f"server::Connection<timers::AsioDriver<timers::{b}, C> >::on_input(int)")
                 for b in ("OrderedList", "HierarchicalWheel")}
        self.assertEqual(names, {"server::Connection::on_input"})

    def test_no_separator_survives(self) -> None:
        self.assertNotIn(";", shorten("a;b"))
        self.assertNotIn(";", shorten("a::b(x);c"))


if __name__ == "__main__":
    unittest.main()
