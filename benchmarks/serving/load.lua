-- For wrk: sends bodies out of files in turn and ends with one line of JSON. Arguments: content type, files.

local requests, turn = {}, 0

function init(args)
   for i = 2, #args do
      local file = assert(io.open(args[i], "rb"))
      requests[i - 1] = wrk.format("POST", nil, { ["Content-Type"] = args[1] }, file:read("*a"))
      file:close()
   end
end

function request()
   turn = turn % #requests + 1
   return requests[turn]
end

function done(summary, latency)
   local e = summary.errors
   local line = '{"requests": %d, "seconds": %.6f, "p50": %.3f, "p95": %.3f, "p99": %.3f, "errors": %d}\n'
   io.write(line:format(summary.requests, summary.duration / 1e6,
      latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3,
      e.connect + e.read + e.write + e.status + e.timeout))
end
