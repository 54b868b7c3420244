-- SPDX-License-Identifier: MIT
-- sluice.http: URLs, requests and whole responses as text.

local http = require("sluice.http")

describe("sluice.http: URLs", function()
  local GOOD = {
    { "http://127.0.0.1:8080", "127.0.0.1", 8080, "127.0.0.1:8080", "" },
    { "http://127.0.0.1:8080/", "127.0.0.1", 8080, "127.0.0.1:8080", "" },
    { "HTTP://Host.example/a/b/", "Host.example", 80, "Host.example", "/a/b" },
    { "http://[::1]:90/x", "::1", 90, "[::1]:90", "/x" },
    { "http://[::1]", "::1", 80, "[::1]", "" },
    { "http://a:1#frag/?x", "a", 1, "a:1", "" },
    { "http://a:1?q=/x", "a", 1, "a:1", "", "q=/x" },
    { "http://a:1/p?", "a", 1, "a:1", "/p" },
  }
  it("reads https where that is asked for", function()
    assert.same({ scheme = "https", host = "a", port = 443, authority = "a", path = "" }, http.parse_url("HTTPS://a/", true))
  end)

  for _, case in ipairs(GOOD) do
    it(("reads %s"):format(case[1]), function()
      assert.same({ scheme = "http", host = case[2], port = case[3], authority = case[4], path = case[5], query = case[6] },
        http.parse_url(case[1]))
    end)
  end

  local BAD = {
    { "", "expected http://" }, { "127.0.0.1:8080", "expected http://" }, { "ftp://a", "begins with http://" },
    { "https://a", "plain port" }, { "http://", "host and port" }, { "http:///x", "host and port" },
    { "http://a:x", "host and port" }, { "http://a:0", "host and port" }, { "http://a:70000", "host and port" },
    { "http://::1/", "host and port" }, { "http://u:p@a/", "name and password" }, { "http://a/b c", "blanks" },
    { "http://a/b\r\nX: y", "blanks" }, { "http://a/\0", "blanks" },
  }
  for _, case in ipairs(BAD) do
    it(("refuses %q"):format(case[1]), function()
      local url, message = http.parse_url(case[1])
      assert.is_nil(url)
      assert.is_truthy(message:find(case[2], 1, true), message)
    end)
  end
end)

describe("sluice.http: requests", function()
  it("percent-encodes all but unreserved characters", function()
    assert.equal("aZ0-._~%20%26%2B%C3%A4%00%2F", http.encode("aZ0-._~ &+\u{e4}\0/"))
  end)

  it("have a Host, close the connection and give the body's length", function()
    assert.equal("POST /p HTTP/1.1\r\nHost: a:1\r\nConnection: close\r\nX: y\r\nContent-Length: 3\r\n\r\na\0b",
      http.build_request("POST", "a:1", "/p", { { "X", "y" } }, "a\0b"))
    assert.equal("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", http.build_request("GET", "a", "/", {}))
  end)

  it("refuse control characters in a field", function()
    local request, message = http.build_request("GET", "a", "/", { { "X", "y\r\nZ: 1" } })
    assert.is_nil(request)
    assert.equal("control characters in X", message)
  end)
end)

describe("sluice.http: responses", function()
  local HEAD = "HTTP/1.1 200 OK\r\n"

  local GOOD = {
    { "a sized body", HEAD .. "Content-Length: 2\r\n\r\nhi", 200, "hi" },
    { "a sized body, and leaves out what follows", HEAD .. "Content-Length: 2\r\n\r\nhi there", 200, "hi" },
    { "a body to the end", HEAD .. "\r\nhi", 200, "hi" },
    { "an empty body", HEAD .. "Content-Length: 0\r\n\r\n", 200, "" },
    { "chunks", HEAD .. "Transfer-Encoding: Chunked\r\n\r\n2\r\nhi\r\n1;x=y\r\n!\r\n0\r\n\r\n", 200, "hi!" },
    { "chunks with bytes of any kind", HEAD .. "Transfer-Encoding: chunked\r\n\r\nA\r\n0\r\n\r\n12345\r\n0\r\nT: x\r\n\r\n",
      200, "0\r\n\r\n12345" },
    { "no header fields", "HTTP/1.0 404 Not Found\r\n\r\nwhat", 404, "what" },
    { "no reason", "HTTP/1.1 503\r\n\r\n", 503, "" },
    { "what follows interim answers", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n"
      .. HEAD .. "Content-Length: 2\r\n\r\nhi", 200, "hi" },
    { "no body after 204", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204, "" },
  }
  for _, case in ipairs(GOOD) do
    it(("are read with %s"):format(case[1]), function()
      local answer = assert(http.parse_response(case[2], "POST"))
      assert.equal(case[3], answer.status)
      assert.equal(case[4], answer.body)
    end)
  end

  it("have header fields by lower-case name, repeated ones joined", function()
    local answer = assert(http.parse_response(HEAD .. "A: 1\r\nb:  x y \r\na: 2\r\nEmpty:\r\n\r\n", "GET"))
    assert.same({ a = "1, 2", b = "x y", empty = "" }, answer.headers)
    assert.equal("OK", answer.reason)
  end)

  it("have no body after HEAD", function()
    assert.equal("", assert(http.parse_response(HEAD .. "Content-Length: 5\r\n\r\n", "HEAD")).body)
  end)

  local BAD = {
    { "", "without an answer" }, { "HTTP/1.1 100 Continue\r\n\r\n", "without an answer" },
    { "SSH-2.0-OpenSSH\r\n", "not HTTP" }, { "HTTP/2 200\r\n\r\n", "not HTTP" },
    { "HTTP/1.1 200 OK\r\nA: 1\r\n", "cut off in its header" },
    { HEAD .. "no field\r\n\r\n", "malformed" }, { HEAD .. "Content-Length: 5\r\n\r\nhi", "cut off in its body" },
    { HEAD .. "Content-Length: -1\r\n\r\nhi", "Content-Length" },
    { HEAD .. "Content-Length: 1, 1\r\n\r\nhi", "Content-Length" },
    { HEAD .. "Transfer-Encoding: chunked\r\n\r\n", "cut off" },
    { HEAD .. "Transfer-Encoding: chunked\r\n\r\n5\r\nhi", "cut off" },
    { HEAD .. "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", "cut off" },
    { HEAD .. "Transfer-Encoding: chunked\r\n\r\n1\r\nhi\r\n0\r\n\r\n", "chunks are wrong" },
    { HEAD .. "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhi\r\n0\r\n\r\n", "chunks are wrong" },
    { HEAD .. "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "chunks are wrong" },
  }
  for _, case in ipairs(BAD) do
    it(("are refused: %q"):format(case[1]), function()
      local answer, message = http.parse_response(case[1], "POST")
      assert.is_nil(answer)
      assert.is_truthy(message:find(case[2], 1, true), message)
    end)
  end
end)
