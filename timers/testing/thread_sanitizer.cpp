// Part of every test of asio/: what the thread sanitizer takes for a race there, and is none.
//
// Asio counts the references to a large executor in an any_io_executor, such as a strand, with the
// help of a fence. The thread sanitizer does not know fences. So it takes the end of the last copy
// for a race with the use of an earlier one.
#if defined(__SANITIZE_THREAD__)
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  return "race:boost::asio::execution::detail::shared_target_executor\n"
         "race:boost::asio::execution::detail::any_executor_base::destroy_shared\n";
}
#endif
