-- SPDX-License-Identifier: MIT
-- 10 new streams per address in 15 minutes: one line. All else is the default policy; scripts/ratelimit.lua does the work.
--
-- Usage: bin/sluice serve --config examples/rate_limit/sluice.conf.lua
--
--   for n in $(seq 11); do curl -s -m 0.2 -o /dev/null -w '%{http_code} ' http://127.0.0.1:8080/events; done
--
-- prints 200 ten times and then 429; with -i curl shows the RateLimit-* fields and Retry-After.
return {
  ratelimit = { max = 10, window = 15 * 60 },
}
