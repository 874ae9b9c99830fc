-- What wrk counted, in a form to be read by a program: its own summary rounds "1.23GB read".
-- Only done() is defined: wrk calls no Lua while it measures.
done = function(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format("RESULT requests=%d bytes=%d microseconds=%d connect=%d read=%d write=%d timeout=%d status=%d\n",
      summary.requests, summary.bytes, summary.duration,
      errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
