# Writes into the header HEADER the commit that the tree in FOLDER was built from: its hash, with
# "-dirty" behind it when a file of it was changed, or "unknown" where FOLDER is not the top of a
# repository, as in an archive that was unpacked inside of another one. Every build runs it; the header
# changes only when the answer does.
#   cmake -D FOLDER=... -D HEADER=... -P commit.cmake
function(ask_git result)
  # A hook of git sets these variables to its own repository.
  execute_process(
    COMMAND ${CMAKE_COMMAND} -E env --unset=GIT_DIR --unset=GIT_WORK_TREE --unset=GIT_INDEX_FILE
      git --no-optional-locks -C "${FOLDER}" ${ARGN}
    OUTPUT_VARIABLE said ERROR_QUIET RESULT_VARIABLE failed OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(failed)
    set(said "failed")
  endif()
  set(${result} "${said}" PARENT_SCOPE)
endfunction()

set(commit "unknown")
ask_git(below_the_top rev-parse --show-prefix)
if(below_the_top STREQUAL "")
  ask_git(hash rev-parse --verify HEAD)
  ask_git(changes status --porcelain --untracked-files=no)
  if(hash MATCHES "^[0-9a-f]+$")
    set(commit "${hash}")
    if(NOT changes STREQUAL "")
      string(APPEND commit "-dirty")
    endif()
  endif()
endif()
file(CONFIGURE OUTPUT "${HEADER}" CONTENT "#define IDLEWHEEL_COMMIT \"${commit}\"\n" @ONLY)
