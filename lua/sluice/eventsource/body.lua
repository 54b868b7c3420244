-- SPDX-License-Identifier: MIT
-- The body of a response as it comes in (RFC 9112, 6 and 7): chunks, a length, or all to the end; and its gzip coding.
-- A decoder has feed(bytes), which returns what could be read, or nil and a message; `done` once the body is complete;
-- and `open_ended` where only the end of the connection can end it.

local core = require "sluice.core"

local body = {}

local LINE_BYTES = 8192 -- of a chunk's size with its extensions, or of a trailer's line
local TRAILER_LINES = 100

-- --- chunks ------------------------------------------------------------------------------------------

local chunks = {}
chunks.__index = chunks

local function new_chunks()
  return setmetatable({ line = "", left = 0, trailers = 0, state = "size" }, chunks)
end

-- What a complete line says, by state; it returns the next state, or nil and a message.
local on_line = {}

function on_line.size(self, line)
  local digits, rest = line:match("^0*(%x+)(.*)$")
  if not digits or #digits > 15 or not rest:find("^[ \t]*$") and not rest:find("^[ \t]*;") then
    return nil, "the chunks of the body are wrong"
  end
  self.left = tonumber(digits, 16)
  return self.left > 0 and "data" or "trailer"
end

function on_line.data_end(_, line)
  if line ~= "" then return nil, "the chunks of the body are wrong" end
  return "size"
end

function on_line.trailer(self, line)
  self.trailers = self.trailers + 1
  if self.trailers > TRAILER_LINES then return nil, "the body's trailer is too long" end
  if line ~= "" then return "trailer" end
  self.done = true
  return "done"
end

-- Takes a line, or a part of it, from `at`. Returns where it goes on; or nil and a message.
function chunks:read_line(bytes, at)
  local last = bytes:find("\n", at, true)
  self.line = self.line .. bytes:sub(at, last)
  if #self.line > LINE_BYTES then return nil, "a line between the chunks of the body is too long" end
  if not last then return #bytes + 1 end
  local state, message = on_line[self.state](self, (self.line:gsub("\r?\n$", "")))
  if not state then return nil, message end
  self.state, self.line = state, ""
  return last + 1
end

function chunks:feed(bytes)
  local at, parts = 1, {}
  while at <= #bytes and not self.done do
    if self.state == "data" then
      local part = bytes:sub(at, at + self.left - 1)
      parts[#parts + 1] = part
      at, self.left = at + #part, self.left - #part
      if self.left == 0 then self.state = "data_end" end
    else
      local next_at, message = self:read_line(bytes, at)
      if not next_at then return nil, message end
      at = next_at
    end
  end
  return table.concat(parts)
end

-- --- the other two -----------------------------------------------------------------------------------

local sized = {}
sized.__index = sized

function sized:feed(bytes)
  local part = bytes:sub(1, self.left)
  self.left = self.left - #part
  self.done = self.left == 0
  return part
end

local to_the_end = { open_ended = true }
to_the_end.__index = to_the_end

function to_the_end.feed(_, bytes) return bytes end

-- --- codings -----------------------------------------------------------------------------------------

local gzipped = {}
gzipped.__index = gzipped

function gzipped:feed(bytes)
  local part, message = self.inner:feed(bytes)
  if not part then return nil, message end
  self.done = self.inner.done
  return self.gunzip:feed(part)
end

-- --- which it is -------------------------------------------------------------------------------------

local function framing(headers)
  local transfer, length = headers["transfer-encoding"], headers["content-length"]
  if transfer then
    if transfer:lower() ~= "chunked" then return nil, ("the transfer coding %s is not supported"):format(transfer) end
    return new_chunks()
  end
  if not length then return setmetatable({}, to_the_end) end
  if not length:find("^%d+$") or #length > 15 then return nil, "the answer's Content-Length is malformed" end
  local left = tonumber(length)
  return setmetatable({ left = left, done = left == 0 }, sized)
end

-- Makes the decoder for an answer's headers (names in lower case); or returns nil and a message.
function body.decoder(headers)
  local inner, message = framing(headers)
  if not inner then return nil, message end
  local coding = (headers["content-encoding"] or ""):lower()
  if coding == "" or coding == "identity" then return inner end
  if coding ~= "gzip" and coding ~= "x-gzip" then return nil, ("the content coding %s is not supported"):format(coding) end
  return setmetatable({ inner = inner, gunzip = core.client.gunzip(), done = inner.done, open_ended = inner.open_ended }, gzipped)
end

return body
