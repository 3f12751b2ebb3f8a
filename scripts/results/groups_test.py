import unittest
from collections import Counter

from results.groups import GROUPS, Groups


class Shares(unittest.TestCase):
    def setUp(self) -> None:
        self.groups = Groups()

    def owner(self, *frames: str) -> str:
        return self.groups.owner(("idlewheel-serve", "_start", "main", *frames))

    def test_owner_is_the_innermost_frame_that_has_a_group(self) -> None:
        self.assertEqual(self.owner("server::Connection::on_input", "timers::BinaryHeap::rearm"),
                         "timer")
        self.assertEqual(self.owner("timers::BinaryHeap::rearm", "__memmove_avx_unaligned"),
                         "timer")
        self.assertEqual(self.owner("timers::LoopDriver::run_pass", "operator new", "malloc"),
                         "allocator")
        self.assertEqual(self.owner("server::Connection::on_input",
                                    "beast::http::basic_parser::put"), "parser")
        self.assertEqual(self.owner("asio::scheduler::run"), "asio")
        self.assertEqual(self.owner("server::WriteQueue::front", "memcpy"), "write")

    def test_an_action_is_not_the_timers(self) -> None:
        stack = ("timers::HierarchicalWheel::pop_expired", "timers::run_action",
                 "server::EpollSet::close")
        self.assertEqual(self.owner(*stack), "other")
        self.assertEqual(self.owner(*stack[:2], "memset"), "other")
        self.assertNotIn("timer", self.groups.within(stack))
        self.assertIn("timer", self.groups.within((*stack, "timers::HierarchicalWheel::disarm")))

    def test_the_kernel_is_split_in_network_and_timer(self) -> None:
        for frame in ("tcp_v4_rcv", "__sys_sendto", "ep_poll", "do_epoll_wait", "skb_release_data",
                      "net_rx_action", "__dev_queue_xmit", "sock_def_readable", "inet_csk_accept",
                      "__alloc_skb", "loopback_xmit", "_copy_from_iter_skb", "nf_hook_slow",
                      "__do_sys_io_uring_enter", "__io_issue_sqe", "io_run_local_work.isra.0",
                      "eventfd_signal_mask"):
            stack = ("entry_SYSCALL_64_after_hwframe_[k]", frame + "_[k]", "_raw_spin_lock_[k]")
            self.assertEqual(self.owner(*stack), "kernel network", frame)
        for frame in ("__x64_sys_timerfd_settime", "timerfd_poll", "hrtimer_start_range_ns"):
            self.assertEqual(self.owner("do_syscall_64_[k]", frame + "_[k]"), "kernel timer", frame)

    def test_entering_the_kernel_belongs_to_the_call(self) -> None:
        self.assertEqual(self.owner("asio::socket_ops::recv", "__libc_recv",
                                    "entry_SYSCALL_64_after_hwframe_[k]"), "kernel network")
        self.assertEqual(self.owner("server::serve", "__io_uring_submit",
                                    "entry_SYSCALL_64_after_hwframe_[k]"), "kernel network")
        self.assertEqual(self.owner("timers::LoopDriver::run_pass", "timerfd_settime",
                                    "entry_SYSCALL_64_after_hwframe_[k]"), "kernel timer")

    def test_steady_timers_machinery_is_the_timers(self) -> None:
        for frame in ("asio::timer_queue::enqueue_timer", "asio::epoll_reactor::schedule_timer",
                      "asio::deadline_timer_service::cancel", "timers::TimerService::Timer::rearm"):
            self.assertEqual(self.owner("server::Connection::on_input", frame), "timer", frame)

    def test_the_ledger_sums_to_one_and_recursion_counts_once(self) -> None:
        stacks = Counter({
            ("s", "main", "timers::RbTree::advance", "timers::RbTree::advance", "memmove"): 3,
            ("s", "main", "timers::RbTree::rearm"): 1,
            ("s", "main", "server::serve"): 4,
            ("s", "[unknown]"): 2,
        })
        shares = self.groups.shares(stacks)
        self.assertEqual(list(shares), GROUPS)
        self.assertAlmostEqual(sum(s["owner"] for s in shares.values()), 1)
        self.assertAlmostEqual(sum(s["self"] for s in shares.values()), 1)
        self.assertAlmostEqual(shares["timer"]["owner"], 0.4)
        self.assertAlmostEqual(shares["timer"]["inclusive"], 0.4)
        self.assertAlmostEqual(shares["timer"]["self"], 0.1)

    def test_no_samples_give_zero(self) -> None:
        self.assertEqual(self.groups.shares(Counter())["timer"]["owner"], 0)


if __name__ == "__main__":
    unittest.main()
