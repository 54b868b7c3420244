-- SPDX-License-Identifier: MIT
-- The container's health: asks the server in it for /health, on the port of its default configuration or of PORT. Ends with 0 where it is well, with 1 where it
-- is not, or leaves.
local core = require("sluice.core")

local WAIT_S = 2.5 -- within the 3 s that the container's HEALTHCHECK waits
local REQUEST = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

local answer, message = core.http_request("127.0.0.1", math.tointeger(tonumber(os.getenv("PORT"))) or 8080, REQUEST, WAIT_S)
if not answer then
  io.stderr:write("health: ", message, "\n")
  os.exit(1)
end
print(answer:match("\r\n\r\n(.*)$"))
os.exit(answer:find("^HTTP/1%.1 200 ") ~= nil)
