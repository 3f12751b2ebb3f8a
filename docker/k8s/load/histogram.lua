-- Prints what wrk measured as one line of JSON, for load_pods.py to add up. Percentiles of several pods
-- cannot be added, so the line has the latency at many ranks, from which load_pods.py makes those of all.

-- The shares of requests, in percent, at which the latency is given. Each look takes wrk some
-- milliseconds where latencies are long, so there are a few hundred of them.
local function ranks()
  local found = {}
  for i = 1, 189 do found[#found + 1] = i / 2 end -- 0.5 to 94.5
  for i = 950, 998 do found[#found + 1] = i / 10 end -- 95 to 99.8
  for i = 9990, 9999 do found[#found + 1] = i / 100 end -- 99.9 to 99.99
  return found
end

function done(summary, latency)
  local points = {}
  if summary.requests > 0 then
    for _, rank in ipairs(ranks()) do
      points[#points + 1] = string.format("[%.2f,%d]", rank, latency:percentile(rank))
    end
    points[#points + 1] = string.format("[100,%d]", latency.max)
  end
  local errors = {}
  for _, kind in ipairs({ "connect", "read", "write", "status", "timeout" }) do
    errors[#errors + 1] = string.format('"%s":%d', kind, summary.errors[kind])
  end
  print(string.format(
    'idlewheel-load {"started_ms":%s,"duration_us":%d,"requests":%d,"bytes":%d,' ..
    '"errors":{%s},"latency_us":[%s]}',
    os.getenv("STARTED_MS"), summary.duration, summary.requests, summary.bytes,
    table.concat(errors, ","), table.concat(points, ",")))
end
