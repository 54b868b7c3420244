-- SPDX-License-Identifier: MIT
-- Raw requests and the status with which each must be answered, by a server with the default routes and the limits of
-- `config` (the target's limit of 8 KiB is fixed). `status` is a list where several answers follow each other; with `close` the
-- connection ends after the last one, else it is kept. How the bytes are cut into packets must never matter. "100 Continue" is
-- not listed: it may come before the answer of a request that asks for it.
local HEADER_BYTES, TARGET_BYTES, BODY_BYTES = 16 * 1024, 8 * 1024, 1024 * 1024

local cases = {}

-- One request, or several, answered and the connection kept.
local function good(name, request, status)
  cases[#cases + 1] = { name = name, request = request, status = status or 200 }
end

-- The same, but the connection is closed after the last answer.
local function last(name, request, status)
  cases[#cases + 1] = { name = name, request = request, status = status or 200, close = true }
end

-- Refused, and the connection closed.
local function bad(status, name, request)
  last(name, request, status)
end

local HOST = "Host: a.example\r\n"
local CHUNKED = "Transfer-Encoding: chunked\r\n"
local GET = "GET /health HTTP/1.1\r\n" .. HOST .. "\r\n"

-- GET /health with this target, these fields, this Host value.
local function target(text)
  return "GET " .. text .. " HTTP/1.1\r\n" .. HOST .. "\r\n"
end

local function fields(text)
  return "GET /health HTTP/1.1\r\n" .. HOST .. text .. "\r\n"
end

local function host(text)
  return "GET /health HTTP/1.1\r\nHost: " .. text .. "\r\n\r\n"
end

-- POST /publish with these fields and what follows the head.
local function post(text, rest)
  return "POST /publish HTTP/1.1\r\n" .. HOST .. text .. "\r\n" .. (rest or "")
end

local function chunks(text)
  return post(CHUNKED, text)
end

local function filled(before, total, after)
  return before .. ("a"):rep(total - #before - #after) .. after
end

-- Ordinary requests
good("GET", GET)
good("HEAD", "HEAD /health HTTP/1.1\r\n" .. HOST .. "\r\n")
good("a path that is not there", target("/nowhere"), 404)
good("a query", target("/health?a=b&c"))
good("an empty query", target("/health?"))
good("a query with characters that browsers leave as they are", target("/health?a=|{}[]^`\"<>\\"))
good("field names in any case", "GET /health HTTP/1.1\r\nhOsT: a.example\r\naCCEPT: */*\r\n\r\n")
good("no blank after a colon", "GET /health HTTP/1.1\r\nHost:a.example\r\n\r\n")
good("blanks and tabs around a value", "GET /health HTTP/1.1\r\nHost: \t a.example\t \r\n\r\n")
good("an empty field value", fields("X:\r\nY: \r\n"))
good("UTF-8 and tabs in a field value", fields("X: \xc3\xa4\tb\r\n"))
good("every token character in a field name", fields("!#$%&'*+-.^_`|~09azAZ: a\r\n"))
good("a field sent twice", fields("X: a\r\nX: b\r\n"))
good("an empty line before the request", "\r\n" .. GET)
good("eight empty lines before the request", ("\r\n"):rep(8) .. GET)
good("a GET with a body", "GET /health HTTP/1.1\r\n" .. HOST .. "Content-Length: 5\r\n\r\nhello")
good("a HEAD with a body", "HEAD /health HTTP/1.1\r\n" .. HOST .. "Content-Length: 5\r\n\r\nhello")
good("an offer of h2c", fields("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"))
good("an offer of WebSocket", fields("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"))
good("an offer of h2c with a body", post("Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n", "hello"))

-- Absolute-form targets, hosts
good("an absolute target", target("http://a.example/health"))
good("an absolute target with port and query", target("http://a.example:8080/health?a"))
good("an absolute target with a scheme in capitals", target("HTTP://a.example/health"))
good("an absolute target of another host than the field's", target("http://b.example/health"))
good("an absolute target without a path", target("http://a.example"), 404)
good("a host with a port", host("a.example:8080"))
good("a host with an empty port", host("a.example:"))
good("an IPv4 host", host("127.0.0.1:8080"))
good("an IPv6 host", host("[::1]:8080"))
good("a host with an escape", host("a%2Db"))
bad(400, "no Host", "GET /health HTTP/1.1\r\n\r\n")
bad(400, "no Host beside an absolute target", "GET http://a.example/health HTTP/1.1\r\n\r\n")
bad(400, "two Hosts", "GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
bad(400, "the same Host twice", "GET /health HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n")
bad(400, "an empty Host", "GET /health HTTP/1.1\r\nHost:\r\n\r\n")
bad(400, "a Host of blanks", "GET /health HTTP/1.1\r\nHost: \t \r\n\r\n")
bad(400, "a Host with a path", host("a/b"))
bad(400, "a Host with a blank", host("a b"))
bad(400, "a Host that is a list", host("a, b"))
bad(400, "a Host with userinfo", host("user@a"))
bad(400, "a Host that is only a port", host(":80"))
bad(400, "a Host with letters for a port", host("a:http"))
bad(400, "a Host with a port too high", host("a:65536"))
bad(400, "a Host with IPv6 without brackets", host("::1"))
bad(400, "a Host with an open bracket", host("[::1"))
bad(400, "a Host with UTF-8", host("\xc3\xa4.example"))
bad(400, "a Host with half an escape", host("a%2"))
bad(400, "an absolute target with userinfo", target("http://user@a.example/health"))
bad(400, "an absolute target without a host", target("http:///health"))
bad(400, "an absolute target with a bad port", target("http://a.example:x/health"))
bad(400, "an absolute target of another scheme", target("ftp://a.example/health"))

-- HTTP/1.0 and keeping the connection
last("HTTP/1.0 without Host", "GET /health HTTP/1.0\r\n\r\n")
last("HTTP/1.0 with Host", "GET /health HTTP/1.0\r\n" .. HOST .. "\r\n")
good("HTTP/1.0 with keep-alive", "GET /health HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
last("HTTP/1.0 with keep-alive and close", "GET /health HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n")
last("HTTP/1.0 with a body", "POST /publish HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello")
bad(400, "HTTP/1.0 with two Hosts", "GET /health HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n")
bad(400, "HTTP/1.0 with chunks", "POST /publish HTTP/1.0\r\n" .. HOST .. CHUNKED .. "\r\n5\r\nhello\r\n0\r\n\r\n")
last("close", fields("Connection: close\r\n"))
last("close in capitals, in a list", fields("Connection: x, CLOSE ,y\r\n"))
last("close in a second field", fields("Connection: x\r\nConnection: close\r\n"))
good("a word that only begins like close", fields("Connection: closed\r\n"))
last("a request after a request to close", fields("Connection: close\r\n") .. GET)
last("garbage after a request to close", fields("Connection: close\r\n") .. "\x16\x03\x01 garbage\r\n\r\n")

-- Request line
bad(400, "HTTP/0.9", "GET /health\r\n\r\n")
bad(400, "a blank, then no version", "GET /health \r\n\r\n")
bad(400, "no target", "GET\r\n\r\n")
bad(400, "an empty target", "GET  HTTP/1.1\r\n" .. HOST .. "\r\n")
bad(400, "two blanks before the target", "GET  /health HTTP/1.1\r\n" .. HOST .. "\r\n")
bad(400, "two blanks after the target", "GET /health  HTTP/1.1\r\n" .. HOST .. "\r\n")
bad(400, "a tab before the target", "GET\t/health HTTP/1.1\r\n" .. HOST .. "\r\n")
bad(400, "a tab after the target", "GET /health\tHTTP/1.1\r\n" .. HOST .. "\r\n")
bad(400, "a blank after the version", "GET /health HTTP/1.1 \r\n" .. HOST .. "\r\n")
bad(400, "a blank before the method", " GET /health HTTP/1.1\r\n" .. HOST .. "\r\n")
bad(400, "a bare LF after the request line", "GET /health HTTP/1.1\n" .. HOST .. "\r\n")
bad(400, "a bare CR after the request line", "GET /health HTTP/1.1\r" .. HOST .. "\r\n")
bad(400, "a bare LF before the request line", "\n" .. GET)
bad(400, "a bare CR before the request line", "\r" .. GET)
bad(400, "too many empty lines before the request", ("\r\n"):rep(9) .. GET)
bad(400, "a fragment", target("/health#a"))
bad(400, "* with GET", target("*"))
bad(400, "a target without a slash", target("health"))
bad(400, "an authority as target", target("a.example:80"))
bad(400, "UTF-8 in the target", target("/h\xc3\xa4lth"))
bad(400, "a control byte in the target", target("/health\x01"))
bad(400, "DEL in the target", target("/health\x7f"))
bad(400, "NUL in the target", target("/health\0"))
bad(400, "NUL in the method", "GE\0T /health HTTP/1.1\r\n" .. HOST .. "\r\n")
bad(400, "NUL in the version", "GET /health HTTP/1\0.1\r\n" .. HOST .. "\r\n")
bad(400, "a TLS handshake", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
bad(400, "SSH", "SSH-2.0-OpenSSH_9.2\r\n")
bad(400, "a brace", "{\"channel\":\"a\"}\r\n\r\n")
bad(400, "a colon after the method", "GET: /health HTTP/1.1\r\n" .. HOST .. "\r\n")
bad(501, "a method in lower case", "get /health HTTP/1.1\r\n" .. HOST .. "\r\n")
bad(501, "an unknown method", "BREW /health HTTP/1.1\r\n" .. HOST .. "\r\n")
bad(501, "the beginning of a method", "GE /health HTTP/1.1\r\n" .. HOST .. "\r\n")
bad(501, "an endless method", ("A"):rep(1000))
bad(501, "CONNECT", "CONNECT a.example:443 HTTP/1.1\r\n" .. HOST .. "\r\n")
bad(501, "a method of RTSP", "DESCRIBE /health HTTP/1.1\r\n" .. HOST .. "\r\n")
bad(505, "HTTP/2.0", "GET /health HTTP/2.0\r\n" .. HOST .. "\r\n")
bad(505, "the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
bad(505, "HTTP/1.2", "GET /health HTTP/1.2\r\n" .. HOST .. "\r\n")
bad(505, "HTTP/0.9 with its name", "GET /health HTTP/0.9\r\n" .. HOST .. "\r\n")
bad(400, "HTTP/1", "GET /health HTTP/1\r\n" .. HOST .. "\r\n")
bad(400, "HTTP/1.10", "GET /health HTTP/1.10\r\n" .. HOST .. "\r\n")
bad(400, "HTTP/11.1", "GET /health HTTP/11.1\r\n" .. HOST .. "\r\n")
bad(400, "http in lower case", "GET /health http/1.1\r\n" .. HOST .. "\r\n")
bad(400, "RTSP", "GET /health RTSP/1.0\r\n" .. HOST .. "\r\n")
bad(400, "ICE", "SOURCE /health ICE/1.0\r\n" .. HOST .. "\r\n")

-- Fields
bad(400, "a folded field", fields("X: a\r\n b\r\n"))
bad(400, "a field folded with a tab", fields("X: a\r\n\tb\r\n"))
bad(400, "a fold before the first field", "GET /health HTTP/1.1\r\n " .. HOST .. "\r\n")
bad(400, "a folded Transfer-Encoding", post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"))
bad(400, "a folded Content-Length", post("Content-Length:\r\n 5\r\n", "hello"))
bad(400, "a bare LF after a field", "GET /health HTTP/1.1\r\nHost: a\n\r\n")
bad(400, "a bare LF at the end of the header", "GET /health HTTP/1.1\r\nHost: a\r\n\n")
bad(400, "bare LFs alone", "GET /health HTTP/1.1\nHost: a\n\n")
bad(400, "a bare CR in a field", fields("X: a\rb\r\n"))
bad(400, "two CRs after a field", fields("X: a\r\r\n"))
bad(400, "an empty field name", fields(": a\r\n"))
bad(400, "no colon", fields("X\r\n"))
bad(400, "a blank before the colon", fields("X : a\r\n"))
bad(400, "a blank before the colon of Content-Length", post("Content-Length : 5\r\n", "hello"))
bad(400, "a tab before the colon of Transfer-Encoding", post("Transfer-Encoding\t: chunked\r\n", "0\r\n\r\n"))
bad(400, "a blank in a field name", fields("X Y: a\r\n"))
bad(400, "a bracket in a field name", fields("X[]: a\r\n"))
bad(400, "UTF-8 in a field name", fields("\xc3\xa4: a\r\n"))
bad(400, "NUL in a field name", fields("X\0: a\r\n"))
bad(400, "NUL in a field value", fields("X: a\0b\r\n"))
bad(400, "a control byte in a field value", fields("X: \x0b\r\n"))
bad(400, "DEL in a field value", fields("X: \x7f\r\n"))

-- Bodies with a length
good("a body", post("Content-Length: 5\r\n", "hello"))
good("a body of JSON", post("Content-Type: application/json\r\nContent-Length: 12\r\n", '{"data":"a"}'))
good("zeros before the length", post("Content-Length: 0005\r\n", "hello"))
good("a body that looks like a request", post("Content-Length: " .. #GET .. "\r\n", GET))
bad(400, "an empty Content-Length", post("Content-Length:\r\n", "hello"))
bad(400, "a signed Content-Length", post("Content-Length: +5\r\n", "hello"))
bad(400, "a negative Content-Length", post("Content-Length: -5\r\n", "hello"))
bad(400, "a hexadecimal Content-Length", post("Content-Length: 0x5\r\n", "hello"))
bad(400, "a Content-Length with a point", post("Content-Length: 5.0\r\n", "hello"))
bad(400, "a Content-Length that is a list", post("Content-Length: 5, 5\r\n", "hello"))
bad(400, "a Content-Length of two numbers", post("Content-Length: 5 5\r\n", "hello"))
bad(400, "a Content-Length with a letter", post("Content-Length: 5a\r\n", "hello"))
bad(400, "the same Content-Length twice", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"))
bad(400, "two Content-Lengths", post("Content-Length: 5\r\ncontent-length: 6\r\n", "hello"))

-- Chunked bodies
good("chunks", chunks("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"))
good("chunked in capitals", post("Transfer-Encoding: CHUNKED\r\n", "5\r\nhello\r\n0\r\n\r\n"))
good("a size in capitals, zeros before it", chunks("000A\r\n0123456789\r\n000\r\n\r\n"))
good("chunk extensions", chunks("5;a;b=\"c d\"\r\nhello\r\n0;e=f\r\n\r\n"))
good("trailers", chunks("5\r\nhello\r\n0\r\nX: a\r\nHost: b\r\nAuthorization: c\r\n\r\n"))
good("chunks of one byte", chunks(("1\r\nx\r\n"):rep(100) .. "0\r\n\r\n"))
good("GET with chunks", "GET /health HTTP/1.1\r\n" .. HOST .. CHUNKED .. "\r\n5\r\nhello\r\n0\r\n\r\n")
bad(400, "chunks and a length", post(CHUNKED .. "Content-Length: 5\r\n", "0\r\n\r\n" .. GET))
bad(400, "a length and chunks", post("Content-Length: 5\r\n" .. CHUNKED, "0\r\n\r\n" .. GET))
bad(400, "chunks and the length 0", post(CHUNKED .. "Content-Length: 0\r\n", "0\r\n\r\n"))
bad(400, "an empty Transfer-Encoding", post("Transfer-Encoding:\r\n", "0\r\n\r\n" .. GET))
bad(400, "an empty Transfer-Encoding beside a length", post("Transfer-Encoding:\r\nContent-Length: 5\r\n", "hello"))
bad(400, "chunked twice", post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"))
bad(400, "chunked in two fields", post(CHUNKED .. CHUNKED, "0\r\n\r\n"))
bad(400, "a coding after chunked", post("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n"))
bad(400, "a coding after chunked in a second field", post(CHUNKED .. "Transfer-Encoding: identity\r\n", "0\r\n\r\n"))
bad(400, "an empty element before chunked", post("Transfer-Encoding: , chunked\r\n", "0\r\n\r\n"))
bad(400, "chunked in quotes", post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"))
bad(400, "chunked with a parameter", post("Transfer-Encoding: chunked;a=b\r\n", "0\r\n\r\n"))
bad(400, "chunked after a vertical tab", post("Transfer-Encoding:\x0bchunked\r\n", "0\r\n\r\n"))
bad(501, "gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"))
bad(501, "gzip and chunked in two fields", post("Transfer-Encoding: gzip\r\n" .. CHUNKED, "0\r\n\r\n"))
bad(501, "gzip as the only transfer coding", post("Transfer-Encoding: gzip\r\n", "0\r\n\r\n"))
bad(501, "identity as transfer coding", post("Transfer-Encoding: identity\r\n", "hello"))
bad(501, "xchunked", post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"))
bad(400, "no chunk size", chunks("\r\nhello\r\n0\r\n\r\n"))
bad(400, "a chunk size that is not hexadecimal", chunks("g\r\n"))
bad(400, "a chunk size with 0x", chunks("0x5\r\nhello\r\n0\r\n\r\n"))
bad(400, "a signed chunk size", chunks("+5\r\nhello\r\n0\r\n\r\n"))
bad(400, "a negative chunk size", chunks("-5\r\nhello\r\n0\r\n\r\n"))
bad(400, "a blank before the chunk size", chunks(" 5\r\nhello\r\n0\r\n\r\n"))
bad(400, "a blank after the chunk size", chunks("5 \r\nhello\r\n0\r\n\r\n"))
bad(400, "a chunk size of 17 digits", chunks("00000000000000005\r\nhello\r\n0\r\n\r\n"))
bad(400, "a bare LF after a chunk size", chunks("5\nhello\r\n0\r\n\r\n"))
bad(400, "a bare LF after a chunk", chunks("5\r\nhello\n0\r\n\r\n"))
bad(400, "a bare LF after the last size", chunks("0\n\r\n"))
bad(400, "a bare LF in a chunk extension", chunks("5;a\nhello\r\n0\r\n\r\n"))
bad(400, "a bare CR in a chunk extension", chunks("5;a\rb\r\nhello\r\n0\r\n\r\n"))
bad(400, "NUL in a chunk extension", chunks("5;a\0\r\nhello\r\n0\r\n\r\n"))
bad(400, "a chunk longer than its size", chunks("5\r\nhello!\r\n0\r\n\r\n"))
bad(400, "a chunk shorter than its size", chunks("5\r\nhell\r\n0\r\n\r\n"))
bad(400, "a bare LF after a trailer", chunks("0\r\nX: a\n\r\n"))
bad(400, "a bare LF at the end of the trailers", chunks("0\r\nX: a\r\n\n"))
bad(400, "a folded trailer", chunks("0\r\nX: a\r\n b\r\n\r\n"))
bad(400, "a trailer without a name", chunks("0\r\n: a\r\n\r\n"))
bad(400, "a blank before a trailer's colon", chunks("0\r\nX : a\r\n\r\n"))
bad(400, "NUL in a trailer", chunks("0\r\nX: \0\r\n\r\n"))

-- Codings of the content, expectations
good("the content coding identity", post("Content-Encoding: identity\r\nContent-Length: 5\r\n", "hello"))
bad(415, "a body in gzip", post("Content-Encoding: gzip\r\nContent-Length: 5\r\n", "hello"))
bad(415, "a chunked body in br", post("Content-Encoding: br\r\n" .. CHUNKED, "0\r\n\r\n"))
good("100-continue", post("Expect: 100-continue\r\nContent-Length: 5\r\n", "hello"))
good("100-continue in capitals, with chunks", post("Expect: 100-Continue\r\n" .. CHUNKED, "5\r\nhello\r\n0\r\n\r\n"))
good("100-continue without a body", fields("Expect: 100-continue\r\n"))
last("100-continue in HTTP/1.0", "POST /publish HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")
bad(417, "another expectation", post("Expect: 200-ok\r\nContent-Length: 5\r\n", "hello"))
bad(417, "another expectation beside 100-continue", post("Expect: 100-continue, a=b\r\nContent-Length: 5\r\n", "hello"))

-- Limits
good("a target at the limit", target(filled("/health?", TARGET_BYTES, "")))
bad(414, "a target over the limit", target(filled("/health?", TARGET_BYTES + 1, "")))
bad(414, "a target over the limit whose end is not there", "GET " .. filled("/", TARGET_BYTES + 1, ""))
good("a header at the limit", filled("GET /health HTTP/1.1\r\nHost: a\r\nX: ", HEADER_BYTES, "\r\n\r\n"))
bad(431, "a header over the limit", filled("GET /health HTTP/1.1\r\nHost: a\r\nX: ", HEADER_BYTES + 1, "\r\n\r\n"))
bad(431, "a field name over the limit", filled("GET /health HTTP/1.1\r\nHost: a\r\n", HEADER_BYTES + 1, ""))
bad(431, "blanks over the limit", "GET /health HTTP/1.1\r\nHost: a\r\nX:" .. (" "):rep(HEADER_BYTES))
good("128 fields", fields(("X: a\r\n"):rep(127)))
bad(431, "129 fields", fields(("X: a\r\n"):rep(128)))
bad(431, "trailers over the limit", chunks("0\r\nX: " .. ("a"):rep(HEADER_BYTES) .. "\r\n\r\n"))
bad(431, "many trailers", chunks("0\r\n" .. ("X: a\r\n"):rep(HEADER_BYTES // 6 + 1) .. "\r\n"))
bad(413, "a chunk extension over the limit", chunks("5;a=" .. ("a"):rep(HEADER_BYTES) .. "\r\nhello\r\n0\r\n\r\n"))
good("a body at the limit", post("Content-Length: " .. BODY_BYTES .. "\r\n", ("a"):rep(BODY_BYTES)))
bad(413, "a body over the limit", post("Content-Length: " .. BODY_BYTES + 1 .. "\r\n"))
bad(413, "a body over the limit, with 100-continue", post("Expect: 100-continue\r\nContent-Length: " .. BODY_BYTES + 1 .. "\r\n"))
bad(413, "a length of 2^64", post("Content-Length: 18446744073709551616\r\n"))
bad(413, "a length of 60 digits", post("Content-Length: " .. ("9"):rep(60) .. "\r\n"))
bad(413, "a chunk over the limit", chunks(("%x\r\n"):format(BODY_BYTES + 1)))
bad(413, "a chunk of 2^64 - 1", chunks("ffffffffffffffff\r\nhello\r\n0\r\n\r\n"))
bad(413, "chunks over the limit", chunks(("5\r\nhello\r\n%x\r\n"):format(BODY_BYTES - 4)))

-- Several requests in a row
good("two requests", GET .. GET, { 200, 200 })
good("an empty line between two requests", GET .. "\r\n" .. GET, { 200, 200 })
good("three requests with bodies", post("Content-Length: 5\r\n", "hello") .. chunks("5\r\nhello\r\n0\r\nX: a\r\n\r\n") .. GET, { 200, 200, 200 })
good("a request that is not there between two", GET .. target("/nowhere") .. GET, { 200, 404, 200 })
good("100-continue between two requests", GET .. post("Expect: 100-continue\r\nContent-Length: 5\r\n", "hello") .. GET, { 200, 200, 200 })
good("an offer of h2c before a request", fields("Connection: Upgrade\r\nUpgrade: h2c\r\n") .. GET, { 200, 200 })
last("a request to close after another", GET .. fields("Connection: close\r\n") .. GET, { 200, 200 })
last("HTTP/1.0 after HTTP/1.1", GET .. "GET /health HTTP/1.0\r\n\r\n" .. GET, { 200, 200 })
last("garbage after a request", GET .. "\x16\x03\x01", { 200, 400 })
last("a bad request after a good one", GET .. "GET /health HTTP/1.1\r\n\r\n" .. GET, { 200, 400 })
last("a body longer than its length", post("Content-Length: 4\r\n", "hell\0") .. GET, { 200, 400 })
last("an unknown method after a body", post("Content-Length: 5\r\n", "hello") .. "BREW / HTTP/1.1\r\n\r\n", { 200, 501 })
last("another version after a request", GET .. "GET / HTTP/3.0\r\n\r\n", { 200, 505 })
last("a refused body after a request", GET .. post("Content-Length: 99999999\r\n"), { 200, 413 })

return {
  config = { limits = { header_bytes = HEADER_BYTES, body_bytes = BODY_BYTES } },
  cases = cases,
}
