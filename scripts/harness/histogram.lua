-- wrk -s histogram.lua: prints wrk's whole latency histogram behind its report, a bucket a line
-- ("bucket MICROSECONDS COUNT"), so that those of several clients can be added up, which percentiles
-- cannot. Buckets are as fine as what wrk prints: three digits.
local ffi = require("ffi")

-- wrk's own array of counts, one for each microsecond, behind { count, limit, min, max }. nil where
-- it looks otherwise. With wrk's functions each look begins at the start of the array, so that walking
-- it takes time that grows with the square of its length.
local function array(latency)
   local found = ffi.cast("uint64_t **", latency)[0]
   local low, high = tonumber(found[2]), tonumber(found[3])
   if low == latency.min and high == latency.max and high <= tonumber(found[1]) then
      return found + 4, low, high
   end
end

local function rounded(value)
   local unit = 1
   while value >= 1000 * unit do
      unit = unit * 10
   end
   return math.floor(value / unit + 0.5) * unit
end

function done(_, latency, _)
   local buckets = {}
   local function add(value, count)
      local bucket = rounded(value)
      buckets[bucket] = (buckets[bucket] or 0) + count
   end
   local counts, low, high = array(latency)
   if counts then
      for value = low, high do
         if counts[value] ~= 0 then
            add(value, tonumber(counts[value]))
         end
      end
   else
      for i = 1, #latency do
         add(latency(i))
      end
   end
   for bucket, count in pairs(buckets) do
      print(string.format("bucket %d %d", bucket, count))
   end
end
