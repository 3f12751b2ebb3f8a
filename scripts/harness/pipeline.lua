-- wrk -s pipeline.lua URL -- N: N requests in each write.
function init(args)
   local requests = {}
   for i = 1, tonumber(args[1]) do
      requests[i] = wrk.format()
   end
   together = table.concat(requests)
end

function request()
   return together
end
