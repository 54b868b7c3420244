-- SPDX-License-Identifier: MIT
-- Makes tokens, good and bad, from texts: header and payload are taken as they stand. Signatures and keys come from Node (jwt.mjs).
local json = require("cjson")
local process = require("spec.support.process")

local jwt = {}

local DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

-- base64url without padding (RFC 7515, 2).
function jwt.base64url(bytes)
  return (bytes:gsub("..?.?", function(three)
    local a, b, c = three:byte(1, 3)
    local word = a << 16 | (b or 0) << 8 | (c or 0)
    local text = ""
    for digit = 0, c and 3 or b and 2 or 1 do
      local at = (word >> (18 - 6 * digit) & 63) + 1
      text = text .. DIGITS:sub(at, at)
    end
    return text
  end))
end

local function run(job)
  process.need("node", "nodejs")
  local path = process.temp_dir() .. "/job.json"
  process.write_file(path, json.encode(job))
  local status, out, err = process.run({ "node", "spec/support/jwt.mjs" }, { stdin = path })
  assert(status == 0, "node spec/support/jwt.mjs: " .. err)
  return json.decode(out)
end

-- Makes keys: { name = { rsa = bits } or { ec = curve } or { jwk = public key } }. Returns { name = { private, public, jwk } }.
function jwt.make_keys(wanted)
  return run({ keys = wanted }).keys
end

-- Makes tokens: a list of { alg = "HS256", key = secret or private PEM (or key64 = secret in base64), header = text (by default what fits alg),
-- payload = text }. Returns a list of texts.
function jwt.make_all(list)
  local work, heads = {}, {}
  for index, item in ipairs(list) do
    local header = item.header or ('{"alg":"%s","typ":"JWT"}'):format(item.alg)
    heads[index] = jwt.base64url(header) .. "." .. jwt.base64url(item.payload)
    work[index] = { alg = item.alg, input = heads[index], key = item.key, key64 = item.key64 }
  end
  local tokens = {}
  for index, signature in ipairs(run({ sign = work }).signatures) do tokens[index] = heads[index] .. "." .. signature end
  return tokens
end

-- One HS256 token of a payload (a text, or a table).
function jwt.make(key, payload)
  if type(payload) == "table" then payload = json.encode(payload) end
  return jwt.make_all({ { alg = "HS256", key = key, payload = payload } })[1]
end

return jwt
