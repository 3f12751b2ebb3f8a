import unittest

from harness import fold
from harness.fold import parse, shorten

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
\t            5f0a1 server::Connection<timers::AsioDriver<timers::OrderedList, timers::NoTrace> >::on_readable(boost::system::error_code) (/opt/idlewheel-server)
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
        self.assertIn(("idlewheel-serve", "_start", "main", "server::Connection::on_readable",
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


class Shorten(unittest.TestCase):
    CASES = {
        "timers::OrderedList::rearm(timers::ListNode&, unsigned long, unsigned long)":
            "timers::OrderedList::rearm",
        "void boost::asio::detail::executor_function::complete<boost::asio::detail::binder2<A<B>, "
        "int> >(boost::asio::detail::executor_function::impl_base*, bool)":
            "asio::executor_function::complete",
        "boost::beast::http::basic_parser<true>::put(boost::asio::const_buffer, "
        "boost::system::error_code&)": "beast::http::basic_parser::put",
        "server::Connection<timers::AsioDriver<timers::BinaryHeap> >::on_readable(int)::"
        "{lambda(boost::system::error_code, unsigned long)#1}::operator()(int, long) const":
            "server::Connection::on_readable::{lambda#1}::operator()",
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
        names = {shorten(f"server::Connection<timers::AsioDriver<timers::{b}, C> >::on_readable(int)")
                 for b in ("OrderedList", "HierarchicalWheel")}
        self.assertEqual(names, {"server::Connection::on_readable"})

    def test_no_separator_survives(self) -> None:
        self.assertNotIn(";", shorten("a;b"))
        self.assertNotIn(";", shorten("a::b(x);c"))


if __name__ == "__main__":
    unittest.main()
