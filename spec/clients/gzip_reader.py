# SPDX-License-Identifier: MIT
# Reads a stream in gzip to its end with Python's gzip, which checks the trailer, and prints its text.
#   python3 gzip_reader.py PORT TARGET
import gzip
import http.client
import sys

connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
connection.request("GET", sys.argv[2], headers={"Accept": "text/event-stream", "Accept-Encoding": "gzip"})
response = connection.getresponse()
assert response.status == 200 and response.getheader("Content-Encoding") == "gzip", response.headers
sys.stdout.buffer.write(gzip.GzipFile(fileobj=response).read())
