-- SPDX-License-Identifier: MIT
-- sluice publish: publishes one message over HTTP and prints the server's answer.

local http = require("sluice.http")

local TIMEOUT_S = 30

-- The text of an error answer: its JSON member "error", or what there is.
local function error_text(answer)
  local ok, cjson = pcall(require, "cjson.safe")
  local body = ok and cjson.decode(answer.body)
  if type(body) == "table" and type(body.error) == "string" then return body.error end
  local line = answer.body:match("[^\r\n]+")
  return line or answer.reason
end

return {
  name = "publish",
  summary = "Publishes DATA, or standard input, to a channel of the server at URL.",
  arguments = { { name = "URL" }, { name = "CHANNEL" }, { name = "DATA", optional = true } },
  flags = {
    { name = "event", value = "TYPE", description = "Gives the message an event type." },
    { name = "token", value = "TOKEN", description = "Sends a token, as Authorization: Bearer." },
  },
  notes = "Example: sluice publish http://127.0.0.1:8080 news 'hello'. DATA that begins with - stands after --.\n",

  run = function(context, arguments, given)
    local url, message = http.parse_url(arguments.URL)
    if not url then return context.fail(("URL: %s"):format(message)) end
    if url.query then return context.fail("URL: expected no query: CHANNEL and --event make it") end
    local data = arguments.DATA or context.read_all()
    if not data then return context.fail("cannot read standard input") end

    local target = ("%s/publish?channel=%s"):format(url.path, http.encode(arguments.CHANNEL))
    if given.event then target = target .. "&event=" .. http.encode(given.event) end
    local fields = { { "Content-Type", "text/plain; charset=utf-8" } }
    if given.token then fields[#fields + 1] = { "Authorization", "Bearer " .. given.token } end
    local request
    request, message = http.build_request("POST", url.authority, target, fields, data)
    if not request then return context.fail(message) end

    local where = ("http://%s"):format(url.authority)
    local raw
    raw, message = context.core().http_request(url.host, url.port, request, TIMEOUT_S)
    if not raw then return context.fail(("%s: %s"):format(where, message)) end
    local answer
    answer, message = http.parse_response(raw, "POST")
    if not answer then return context.fail(("%s: %s"):format(where, message)) end
    if answer.status < 200 or answer.status > 299 then
      return context.fail(("%s answers %d: %s"):format(where, answer.status, error_text(answer)))
    end
    return context.print((answer.body:gsub("[\r\n]+$", "")))
  end,
}
