# Installs the library (from BUILD), then builds and runs the consumer against what was installed,
# and again against the checkout (SOURCE). Everything happens in WORK.
function(run)
  execute_process(COMMAND ${ARGV} COMMAND_ERROR_IS_FATAL ANY OUTPUT_QUIET)
endfunction()

file(REMOVE_RECURSE ${WORK})
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/prefix)
foreach(way installed checkout)
  set(from -DCMAKE_PREFIX_PATH=${WORK}/prefix)
  if(way STREQUAL checkout)
    set(from -DIDLEWHEEL=${SOURCE})
  endif()
  run(${CMAKE_COMMAND} -G Ninja -S ${SOURCE}/timers/consumer -B ${WORK}/${way}
    -DCMAKE_CXX_COMPILER=${COMPILER} ${from})
  run(${CMAKE_COMMAND} --build ${WORK}/${way})
  run(${WORK}/${way}/consumer)
endforeach()
