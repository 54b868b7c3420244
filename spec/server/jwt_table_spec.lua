-- SPDX-License-Identifier: MIT
-- Tokens good and bad through real servers, as one table: the examples of RFC 7515 and 7519, and what is known to have opened other doors.
-- Every row is answered by GET /whoami, which only a good token reaches, and no token may show up in a log.
local helper = require("spec.helper")
local jwt = require("spec.support.jwt")
local http, json, process = helper.http, helper.json, helper.process

local NOW = os.time()
local SECRET = "a secret of the specs, longer than the sixty-four bytes that HS512 asks for, and no one's"
local WHOAMI = [[
return {
  routes = function(route)
    route:get("/whoami", function(request) return 200, { user = request.user, claims = request.claims } end)
  end,
}
]]

-- --- servers ------------------------------------------------------------------------------------

-- The public keys of RFC 7515, appendices A.2 and A.3, and the secret of A.1.
local RFC = {
  a1 = "\3\35\53\75\43\15\165\188\131\126\6\101\119\123\166\143\90\179\40\230\240\84\201\40\169\15\132\178\210\80\46\191"
    .. "\211\251\90\146\210\6\71\239\150\138\180\195\119\98\61\34\61\46\33\114\5\46\79\8\192\205\154\245\103\208\128\163",
  a2 = {
    kty = "RSA", e = "AQAB",
    n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMs"
      .. "D1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdV"
      .. "MTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
  },
  a3 = {
    kty = "EC", crv = "P-256",
    x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
  },
}
local RFC_PAYLOAD = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
local RFC_TOKENS = {
  a1 = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." .. RFC_PAYLOAD .. ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
  a2 = "eyJhbGciOiJSUzI1NiJ9." .. RFC_PAYLOAD .. ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5"
    .. "jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383"
    .. "LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0ig"
    .. "cN_IoypGlUPQGe77Rw",
  a3 = "eyJhbGciOiJFUzI1NiJ9." .. RFC_PAYLOAD .. ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
}

-- What each server verifies with; `pem` is the public key of that name.
local SERVERS = {
  hs = { key = SECRET, algorithms = { "HS256", "HS384", "HS512" }, cookie = "session" },
  default = { key = SECRET },
  lenient = { key = SECRET, leeway = 60 },
  strict = { key = SECRET, issuer = "https://login.example", audience = "sluice" },
  rs = { pem = "rsa", algorithms = { "RS256", "RS384", "RS512" } },
  es256 = { pem = "p256", algorithms = { "ES256" } },
  es384 = { pem = "p384", algorithms = { "ES384" } },
  es512 = { pem = "p521", algorithms = { "ES512" } },
  a1 = { text = RFC.a1 },
  a2 = { pem = "a2", algorithms = { "RS256" } },
  a3 = { pem = "a3", algorithms = { "ES256" } },
}

local keys, servers = nil, {}

local function serve(name)
  local jwt_config = {}
  for key, value in pairs(SERVERS[name]) do jwt_config[key] = value end
  local text = jwt_config.text or (jwt_config.pem and keys[jwt_config.pem].public)
  if text then
    jwt_config.key_file = process.temp_dir() .. "/key"
    process.write_file(jwt_config.key_file, text)
  end
  jwt_config.text, jwt_config.pem = nil, nil
  return helper.serve{
    scripts = { ["whoami.lua"] = WHOAMI }, defaults = true,
    config = { workers = 1, jwt = jwt_config, log = { level = "debug", access = true } },
  }
end

-- --- the table ----------------------------------------------------------------------------------

local ROWS = {}

-- Adds a row: on = server ("hs"), alg ("HS256"), key (name of one of `keys`, else the secret itself), header, payload (texts), edit = function(token) ->
-- what is sent, send = function(token) -> target, headers; want = status (401), reason = what {"error"} must hold, who = the user. Key and header may be
-- functions, called once the keys are made.
local function row(title, about)
  about.title = title
  about.on, about.alg, about.want = about.on or "hs", about.alg or "HS256", about.want or 401
  about.payload = about.payload or ('{"sub":"ann","exp":%d}'):format(NOW + 600)
  if about.want == 200 and about.who == nil then about.who = "ann" end
  ROWS[#ROWS + 1] = about
end

local function ok(title, about)
  about.want = 200
  row(title, about)
end

local function by_header(token, scheme) return "/whoami", { Authorization = (scheme or "Bearer") .. " " .. token } end
local function by_query(token) return "/whoami?token=" .. http.escape(token), {} end

-- The three parts of a token.
local function parts(token) return token:match("^(.*)%.(.*)%.(.*)$") end

-- Good ones.
for _, case in ipairs({
  { "hs", "HS256" }, { "hs", "HS384" }, { "hs", "HS512" }, { "rs", "RS256", "rsa" }, { "rs", "RS384", "rsa" }, { "rs", "RS512", "rsa" },
  { "es256", "ES256", "p256" }, { "es384", "ES384", "p384" }, { "es512", "ES512", "p521" },
}) do
  ok(case[2], { on = case[1], alg = case[2], key = case[3] })
  row(case[2] .. " by another key", { on = case[1], alg = case[2], key = case[3] and case[3] .. "_other" or "another secret", reason = "signature" })
end
ok("no typ", { header = '{"alg":"HS256"}' })
ok("typ in lower case", { header = '{"typ":"jwt","alg":"HS256"}' })
ok("members that nobody knows", { header = '{"alg":"HS256","kid":"1","x":[{}]}', payload = '{"sub":"ann","x":{"y":[null]}}' })
ok("no claims at all", { payload = "{}", who = false })
ok("a user of 256 bytes", { payload = ('{"sub":"%s"}'):format(("ü"):rep(128)), who = ("ü"):rep(128) })
ok("a user with quotes and blanks", { payload = [[{"sub":"a \"b\" \\c"}]], who = [[a "b" \c]] })
ok("an empty user, who is nobody", { payload = '{"sub":""}', who = false })

-- RFC 7515: the signature is right, and the payload of RFC 7519 expired in 2011. One character of it changed is another error.
for _, name in ipairs({ "a1", "a2", "a3" }) do
  row("RFC 7515 " .. name, { on = name, edit = function() return RFC_TOKENS[name] end, reason = "expired" })
  row("RFC 7515 " .. name .. ", altered", {
    on = name, reason = "signature", edit = function() return (RFC_TOKENS[name]:gsub("b2Ui", "b2Yi")) end, -- joe to jof
  })
end
row("RFC 7519, 6.1: unsecured", { edit = function() return "eyJhbGciOiJub25lIn0." .. RFC_PAYLOAD .. "." end })

-- The algorithm.
for _, name in ipairs({ "none", "None", "NONE", "nOnE", "hs256", "HS256 ", "", "HS1", "PS256", "EdDSA", "A128GCM", "HS256\\u0000", "\\u0048S256" }) do
  row(("alg %q"):format(name), { header = ('{"alg":"%s"}'):format(name) })
  row(("alg %q without a signature"):format(name), {
    header = ('{"alg":"%s"}'):format(name), edit = function(token) return (token:gsub("[^.]*$", "")) end,
  })
end
for _, header in ipairs({ "{}", '{"alg":null}', '{"alg":256}', '{"alg":["HS256"]}', '{"alg":{"alg":"HS256"}}', '{"ALG":"HS256"}' }) do
  row("header " .. header, { header = header })
end
row("HS512 where only HS256 is allowed", { on = "default", alg = "HS512", reason = "alg" })
row("HS256 signed, HS384 said", { header = '{"alg":"HS384"}', reason = "signature" })
for _, bits in ipairs({ "256", "384", "512" }) do
  row("HS" .. bits .. " by the RSA public key", { on = "rs", alg = "HS" .. bits, key = function() return keys.rsa.public end, reason = "alg" })
  row("HS" .. bits .. " by it, RS256 said", {
    on = "rs", alg = "HS" .. bits, key = function() return keys.rsa.public end, header = '{"alg":"RS256"}', reason = "signature",
  })
end
row("HS256 by the EC public key", { on = "es256", alg = "HS256", key = function() return keys.p256.public end, reason = "alg" })
row("HS256 by the public key without its last line end", {
  on = "rs", alg = "HS256", key = function() return (keys.rsa.public:gsub("\n$", "")) end, reason = "alg",
})
row("RS256 where a secret is the key", { alg = "RS256", key = "rsa", reason = "alg" })
row("ES256 where RSA is the key", { on = "rs", alg = "ES256", key = "p256", reason = "alg" })
row("ES256 with a key on P-384", { on = "es256", alg = "ES256", key = "p384", reason = "signature" })
row("ES384 where ES256 is allowed", { on = "es256", alg = "ES384", key = "p384", reason = "alg" })
row("PS256 where RS256 is allowed", { on = "rs", alg = "PS256", key = "rsa", reason = "alg" })
row("PS256 signed, RS256 said", { on = "rs", alg = "PS256", key = "rsa", header = '{"alg":"RS256"}', reason = "signature" })
row("an ES256 signature in DER", { on = "es256", alg = "DER256", key = "p256", header = '{"alg":"ES256"}', reason = "signature" })
row("an ES256 signature of zeros", {
  on = "es256", alg = "ES256", key = "p256", reason = "signature", edit = function(token) return (token:gsub("[^.]*$", ("A"):rep(86))) end,
})

-- The header's other members.
for name, kid in pairs({
  path = "../../../../../../dev/null", url = "https://attacker.example/key", sql = "x' UNION SELECT 'y' --", shell = "k; cat /etc/passwd",
}) do
  row("kid as a " .. name .. ", by an empty key", { key = "", header = ('{"alg":"HS256","kid":"%s"}'):format(kid), reason = "signature" })
  row("kid as a " .. name .. ", by what it might yield", { key = "y", header = ('{"alg":"HS256","kid":"%s"}'):format(kid), reason = "signature" })
  ok("kid as a " .. name .. ", by the right key", { header = ('{"alg":"HS256","kid":"%s"}'):format(kid) })
end
row("kid with a NUL", { header = '{"alg":"HS256","kid":"key\\u0000"}' })
row("an embedded key", {
  on = "rs", alg = "RS256", key = "rsa_other", reason = "signature",
  header = function() return json.encode({ alg = "RS256", jwk = keys.rsa_other.jwk }) end,
})
row("a key elsewhere", {
  on = "rs", alg = "RS256", key = "rsa_other", reason = "signature",
  header = '{"alg":"RS256","jku":"https://attacker.example/jwks","x5u":"https://attacker.example/x","x5c":["AAAA"]}',
})
row("crit", { header = '{"alg":"HS256","crit":["exp"]}', reason = "crit" })
row("crit that is empty", { header = '{"alg":"HS256","crit":[]}', reason = "crit" })
row("a payload that is not encoded (RFC 7797)", { header = '{"alg":"HS256","b64":false,"crit":["b64"]}', reason = "crit" })
row("another type of token", { header = '{"alg":"HS256","typ":"at+jwt"}', reason = "typ" })
row("alg twice", { header = '{"alg":"none","alg":"HS256"}', reason = "header" })
row("alg twice, once escaped", { header = '{"alg":"HS256","\\u0061lg":"none"}', reason = "header" })
for _, header in ipairs({ "[]", '"HS256"', "1", "", '{"alg":"HS256"', '{"alg":"HS256"}{}', '\xEF\xBB\xBF{"alg":"HS256"}', '{"alg":"HS256",}' }) do
  row(("header text %q"):format(header), { header = header })
end

-- The signature and the form.
local function edited(title, edit, reason) row(title, { edit = edit, reason = reason }) end
edited("the signature stripped", function(token) return (token:gsub("[^.]*$", "")) end)
edited("the signature and its dot stripped", function(token) return (token:gsub("%.[^.]*$", "")) end)
edited("the signature cut", function(token) return token:sub(1, -5) end, "signature")
edited("the signature grown", function(token) return token .. "AAAA" end, "signature")
edited("padding", function(token) return token .. "=" end)
edited("bits that say nothing set", function(token)
  -- 32 bytes are 43 digits, of the last of which two bits are not used.
  local last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
  local at = last:find(token:sub(-1), 1, true)
  return token:sub(1, -2) .. last:sub(at + 1, at + 1)
end)
edited("the payload altered", function(token)
  local head, _, signature = parts(token)
  return head .. "." .. jwt.base64url('{"sub":"root"}') .. "." .. signature
end, "signature")
edited("the header altered", function(token)
  local _, payload, signature = parts(token)
  return jwt.base64url('{"alg":"HS256","kid":"2"}') .. "." .. payload .. "." .. signature
end, "signature")
edited("the algorithm altered to none", function(token)
  local _, payload, signature = parts(token)
  return jwt.base64url('{"alg":"none"}') .. "." .. payload .. "." .. signature
end, "alg")
edited("a part more", function(token) return token .. "." .. "AAAA" end)
edited("five parts, as of JWE", function(token) return token .. ".AAAA.AAAA" end)
edited("a dot before", function(token) return "." .. token end)
edited("only dots", function() return ".." end)
edited("one word", function() return "secret" end)
edited("a blank inside", function(token) return (token:gsub("%.", " .", 1)) end)
edited("in quotes", function(token) return '"' .. token .. '"' end)
edited("bytes beyond ASCII", function(token) return token .. "\xC3\xA9" end)
edited("the alphabet of base64", function(token) return (token:gsub("%.[^.]*$", ".+/+/")) end)
edited("two tokens", function(token) return token .. "," .. token end)
edited("a token of 9,000 bytes", function(token) return token .. ("A"):rep(9000 - #token) end, "too long")
ok("a token of just below 8 KiB", { payload = ('{"sub":"ann","x":"%s"}'):format(("x"):rep(6000)) })
row("a token of 9,000 bytes that is well signed", { payload = ('{"sub":"ann","x":"%s"}'):format(("x"):rep(6700)), reason = "too long" })
row("an enormous token", { want = 431, edit = function(token) return token .. ("A"):rep(100000) end })
row("an enormous token in the query", { want = 414, send = by_query, edit = function(token) return token .. ("A"):rep(10000) end })

-- The payload.
for _, payload in ipairs({ "[1]", '["sub","ann"]', '"ann"', "1", "null", "{", '{"sub":"ann"', '{"sub":"ann"} x', '{"sub":"ann",}', "{'sub':'ann'}",
  '{"sub":"\xFF"}', '{"sub":"\\ud800"}', '\xEF\xBB\xBF{}', '{"sub":"ann","sub":"root"}', '{"sub":"ann","\\u0073ub":"root"}', '{"exp":9999999999,"exp":1}' }) do
  row(("payload %q"):format(payload), { payload = payload, reason = "payload" })
end
for _, sub in ipairs({ "5", "true", "null", "[]", '{"a":1}', '"a\\nb"', '"\\u007f"', ('"%s"'):format(("x"):rep(257)) }) do
  row("sub " .. sub:sub(1, 20), { payload = ('{"sub":%s}'):format(sub), reason = "claim sub" })
end
row("sub with a NUL", { payload = '{"sub":"a\\u0000b"}' })
row("an empty payload", { payload = "" })
for _, rights in ipairs({ "null", "true", "1", '"news"', '{"subscribe":"news"}', '{"subscribe":null}', '{"subscribe":[1]}', '{"subscribe":["news",null]}',
  '{"subscribe":{"1":"news"}}', '{"subscribe":[["news"]]}', '{"publish":"*"}', '{"publish":true}', '{"admin":"true"}', '{"admin":1}', '{"admin":null}' }) do
  row("sluice " .. rights, { payload = ('{"sub":"ann","sluice":%s}'):format(rights), reason = "claim sluice" })
end

-- Times. What lies a few seconds off the edge here is tried on the edge itself in spec/c/test_token.c.
local function times(title, want, on, text, ...)
  row(title, { want = want, on = on, payload = ('{"sub":"ann",' .. text .. "}"):format(...) })
end
times("exp ahead", 200, "hs", '"exp":%d', NOW + 600)
times("exp ahead, a fraction", 200, "hs", '"exp":%d.5', NOW + 600)
times("exp ahead, with an exponent", 200, "hs", '"exp":9.9e9')
times("exp far ahead", 200, "hs", '"exp":999999999999999999')
times("exp now", 401, "hs", '"exp":%d', NOW)
times("exp gone by", 401, "hs", '"exp":%d', NOW - 1)
times("exp gone by, a fraction", 401, "hs", '"exp":%d.999', NOW - 1)
times("exp gone by, within the leeway", 200, "lenient", '"exp":%d', NOW - 20)
times("exp gone by, a fraction, within the leeway", 200, "lenient", '"exp":%d.25', NOW - 20)
times("exp gone by, beyond the leeway", 401, "lenient", '"exp":%d', NOW - 61)
for _, exp in ipairs({ ('"%d"'):format(NOW + 600), "null", "true", "[]", "{}", "1e999", "-1", "0", '""', ("[%d]"):format(NOW + 600) }) do
  times("exp " .. exp, 401, "hs", '"exp":%s', exp)
end
times("nbf gone by", 200, "hs", '"nbf":%d', NOW - 1)
times("nbf ahead", 401, "hs", '"nbf":%d', NOW + 600)
times("nbf ahead, a fraction", 401, "hs", '"nbf":%d.5', NOW + 600)
times("nbf ahead, within the leeway", 200, "lenient", '"nbf":%d', NOW + 30)
times("nbf ahead, beyond the leeway", 401, "lenient", '"nbf":%d', NOW + 600)
for _, nbf in ipairs({ '"0"', "null", "false", "[]", "1e999" }) do times("nbf " .. nbf, 401, "hs", '"nbf":%s', nbf) end
times("iat ahead, which says nothing", 200, "hs", '"iat":%d', NOW + 600)

-- Issuer and audience.
local ISS = '"iss":"https://login.example"'
times("iss and aud", 200, "strict", ISS .. ',"aud":"sluice"')
times("aud in a list", 200, "strict", ISS .. ',"aud":["a","sluice"]')
times("no aud", 401, "strict", ISS)
times("no iss", 401, "strict", '"aud":"sluice"')
times("another aud", 401, "strict", ISS .. ',"aud":"sluice2"')
times("another iss", 401, "strict", '"iss":"https://login.example.attacker.example","aud":"sluice"')
times("iss with a NUL behind", 401, "strict", '"iss":"https://login.example\\u0000","aud":"sluice"')
times("iss in a list", 401, "strict", '"iss":["https://login.example"],"aud":"sluice"')
times("an aud of lists", 401, "strict", ISS .. ',"aud":[["sluice"]]')
times("an empty list of aud", 401, "strict", ISS .. ',"aud":[]')
times("an aud that is no text", 401, "strict", ISS .. ',"aud":5')

-- Where it stands.
local function sent(title, want, send, edit) row(title, { want = want, send = send, edit = edit }) end
for _, scheme in ipairs({ "bearer", "BEARER", "BeArEr", "Bearer  " }) do
  sent("scheme " .. scheme, 200, function(token) return by_header(token, scheme) end)
end
for _, scheme in ipairs({ "Basic", "Token", "Bearer:", "JWT", "bear" }) do
  row("scheme " .. scheme, { reason = "missing token", send = function(token) return by_header(token, scheme) end })
end
row("no scheme", { reason = "missing token", send = function(token) return "/whoami", { Authorization = token } end })
sent("in the query", 200, by_query)
sent("in the cookie", 200, function(token) return "/whoami", { Cookie = "a=b; session=" .. token .. "; c=d" } end)
sent("in the cookie, in quotes", 200, function(token) return "/whoami", { Cookie = ('session="%s"'):format(token) } end)
row("in another cookie", { reason = "missing token", send = function(token) return "/whoami", { Cookie = "token=" .. token } end })
row("in a cookie where none is configured", {
  on = "default", reason = "missing token", send = function(token) return "/whoami", { Cookie = "session=" .. token } end,
})
sent("NUL and more behind it in the query", 401, function(token) return "/whoami?token=" .. token .. "%00x", {} end)
sent("a line end behind it in the query", 401, function(token) return "/whoami?token=" .. token .. "%0A", {} end)
sent("a broken escape in the query", 400, function(token) return "/whoami?token=" .. token .. "%0", {} end)
sent("twice in the query", 401, function(token) return "/whoami?token=" .. token .. "&token=" .. token, {} end)
sent("an escaped name in the query", 200, function(token) return "/whoami?t%6Fken=" .. token, {} end)
sent("another case of the name in the query", 401, function(token) return "/whoami?Token=" .. token, {} end)
sent("twice in the header", 401, function(token) return "/whoami", { { "Authorization", "Bearer " .. token }, { "Authorization", "Bearer " .. token } } end)
sent("good in the header, bad in the query", 200, function(token) return "/whoami?token=bad", { Authorization = "Bearer " .. token } end)
sent("bad in the header, good in the query", 401, function(token) return "/whoami?token=" .. token, { Authorization = "Bearer bad" } end)
sent("good in the query, bad in the cookie", 200, function(token) return "/whoami?token=" .. token, { Cookie = "session=bad" } end)
sent("bad in the query, good in the cookie", 401, function(token) return "/whoami?token=bad", { Cookie = "session=" .. token } end)
sent("of another scheme in the header, good in the query", 200, function(token)
  return "/whoami?token=" .. token, { Authorization = "Basic YTpi" }
end)
sent("empty in header and query, good in the cookie", 200, function(token)
  return "/whoami?token=", { Authorization = "Bearer ", Cookie = "session=" .. token }
end)

-- --- the run ------------------------------------------------------------------------------------

local function given(value) return type(value) == "function" and value() or value end

-- What is shown of a token where a row fails.
local function check_answer(about, answer, token)
  local message = ("%d %s"):format(answer.status, answer.body)
  assert.equal(about.want, answer.status, message)
  if about.want == 200 then
    assert.equal(about.who or nil, json.decode(answer.body).user, message)
    return
  end
  assert.is_nil(answer.head:find(token, 1, true))
  assert.is_nil(answer.body:find(token, 1, true))
  local text = json.decode(answer.body).error
  if about.reason then assert.truthy(text:find(about.reason, 1, true), message) end
  if about.want == 401 then
    local challenge = answer.headers["www-authenticate"]
    if text == "missing token" then
      assert.equal('Bearer realm="sluice"', challenge)
    else
      -- RFC 6750, 3: what may stand in a description.
      assert.equal(('Bearer realm="sluice", error="invalid_token", error_description="%s"'):format(text), challenge)
      assert.is_nil(text:find('["\\%c\x7F-\xFF]'))
    end
  end
end

describe("a token", function()
  setup(function()
    keys = jwt.make_keys({
      rsa = { rsa = 2048 }, rsa_other = { rsa = 2048 }, p256 = { ec = "P-256" }, p256_other = { ec = "P-256" }, p384 = { ec = "P-384" },
      p384_other = { ec = "P-384" }, p521 = { ec = "P-521" }, p521_other = { ec = "P-521" }, a2 = { jwk = RFC.a2 }, a3 = { jwk = RFC.a3 },
    })
    local list = {}
    for index, about in ipairs(ROWS) do
      local key = given(about.key) or SECRET
      list[index] = { alg = about.alg, key = keys[key] and keys[key].private or key, header = given(about.header), payload = about.payload }
    end
    for index, token in ipairs(jwt.make_all(list)) do ROWS[index].token = ROWS[index].edit and ROWS[index].edit(token) or token end
    for name in pairs(SERVERS) do servers[name] = serve(name) end
  end)

  teardown(helper.cleanup)
  after_each(helper.close_clients)

  for _, about in ipairs(ROWS) do
    it(("on %s: %s: %d"):format(about.on, about.title, about.want), function()
      local target, headers = (about.send or by_header)(about.token)
      local answer = servers[about.on]:request("GET", target, { headers = headers })
      check_answer(about, answer, about.token)
    end)
  end

  it("is nowhere in a log, nor is a key", function()
    local found = {}
    for name, server in pairs(servers) do
      local log = server:log()
      local function look_for(text, title)
        if #text > 10 and log:find(text, 1, true) then found[#found + 1] = name .. ": " .. title end
      end
      for _, about in ipairs(ROWS) do
        look_for(about.token, about.title)
        look_for(about.token:match("^.*%.(.*)$") or "", "the signature: " .. about.title)
      end
      look_for(SECRET, "the secret")
      look_for("-----BEGIN", "a PEM")
    end
    assert.same({}, found)
  end)
end)
