# Python tests under CTest: add_python_test().
find_package(Python3 3.11 REQUIRED COMPONENTS Interpreter)

# CTest says that a test was skipped, but not why. The tests write their reasons into this file, and
# CTest shows it below its summary.
set(IDLEWHEEL_SKIPPED ${PROJECT_BINARY_DIR}/skipped_tests.txt)
file(WRITE ${PROJECT_BINARY_DIR}/CTestCustom.cmake
  "set(CTEST_CUSTOM_PRE_TEST\n"
  "  [[\"${CMAKE_COMMAND}\" -E rm -f \"${IDLEWHEEL_SKIPPED}\"]]\n"
  "  [[\"${CMAKE_COMMAND}\" -E touch \"${IDLEWHEEL_SKIPPED}\"]])\n"
  "set(CTEST_CUSTOM_POST_TEST [[\"${CMAKE_COMMAND}\" -E cat \"${IDLEWHEEL_SKIPPED}\"]])\n")

# Adds a test that runs `python3 -m unittest ARGUMENTS` in the current source folder. It is reported
# as skipped when none of its tests failed and some were skipped. scripts/setup puts programs into
# build/tools.
function(add_python_test name)
  add_test(NAME ${name}
    COMMAND Python3::Interpreter ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/unittest_run.py ${ARGN}
    WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
  set(environment IDLEWHEEL_SKIPPED=set:${IDLEWHEEL_SKIPPED}
    PATH=path_list_append:${PROJECT_SOURCE_DIR}/build/tools)
  set_tests_properties(${name} PROPERTIES
    SKIP_RETURN_CODE 77 ENVIRONMENT_MODIFICATION "${environment}")
endfunction()
