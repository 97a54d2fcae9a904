"""A receiver of webhooks that does what the path says, and keeps a ledger.

    receiver.py PORT LEDGER [CERTIFICATE KEY]

/ok answers 204, /status/N answers N, /retry/N?after=SECONDS answers N with Retry-After,
/first/N answers N to the first request with an id and 204 to others, /redirect leads to
/ok, /slow/SECONDS answers after a while, /hang never, /drip sends the status and then
bytes without end, /headers/N the status N and headers without end, /break breaks off
after the status. A line is in the ledger before
anything is answered: what is not there nobody was told.
"""
import json
import os
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

ledger = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
seen = set()
lock = threading.Lock()


class Receiver(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        self.note('', 0)
        self.answer(405)

    def do_POST(self):
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get('Content-Length', 0))).decode()
        kind, number = (url.path.strip('/').split('/') + ['', ''])[:2]
        key = self.headers.get('webhook-id')
        with lock:
            is_first = key not in seen
            seen.add(key)
        if kind == 'first':
            status = int(number) if is_first else 204
        else:
            status = {'status': number, 'retry': number, 'headers': number, 'redirect': 302, 'hang': 0}.get(kind, 204)
        status = int(status)
        if kind == 'slow':
            time.sleep(float(number))
        self.note(body, status)
        if kind == 'hang':
            time.sleep(3600)
        elif kind == 'retry':
            self.answer(status, {'Retry-After': parse_qs(url.query)['after'][0]})
        elif kind == 'redirect':
            self.answer(status, {'Location': '/ok'})
        elif kind == 'drip':
            self.drip()
        elif kind == 'headers':
            self.wfile.write(b'HTTP/1.1 %d So\r\n' % status + (b'X-Header: ' + b'x' * 1000 + b'\r\n') * 100)
            time.sleep(3600)
        elif kind == 'break':
            self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx')
            self.close_connection = True
        else:
            self.answer(status)

    def answer(self, status, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header('Content-Length', '0')
        self.end_headers()

    def drip(self):
        self.wfile.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
        while True:
            self.wfile.write(b'1\r\nx\r\n')
            time.sleep(0.05)

    def note(self, body, status):
        line = {'method': self.command, 'path': self.path, 'status': status, 'body': body,
                'headers': [[name.lower(), value] for name, value in self.headers.items()]}
        os.write(ledger, (json.dumps(line) + '\n').encode())

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 100

    def handle_error(self, request, client_address):
        pass


server = Server(('127.0.0.1', int(sys.argv[1])), Receiver)
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3], sys.argv[4])
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
