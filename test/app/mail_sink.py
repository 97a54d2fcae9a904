"""A mail server that keeps what it is sent in a ledger.

    mail_sink.py PORT LEDGER

It refuses recipients whose name begins with "unknown" (550) or "later" (451), to relay to
"elsewhere" (554) and "outside" (550, told by 5.7.1 alone), what comes
from "spam" (553), and messages to "unwanted" (554). To "hang" it does not answer, and who
wrote to "linger" is not let go.
"""
import asyncio
import email
import email.policy
import json
import os
import sys

from aiosmtpd.smtp import SMTP

ledger = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


class Sink:
    async def handle_MAIL(self, server, session, envelope, address, options):
        if address.startswith('spam'):
            return '553 not from you'
        envelope.mail_from = address
        return '250 ok'

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith('unknown'):
            return '550 no such person'
        if address.startswith('elsewhere'):
            return '554 5.7.1 relay access denied'
        if address.startswith('outside'):
            return '550 5.7.1 relaying denied'
        if address.startswith('later'):
            return '451 come back later'
        if address.startswith('hang'):
            await asyncio.sleep(3600)
        session.lingers = address.startswith('linger')
        envelope.rcpt_tos.append(address)
        return '250 ok'

    async def handle_DATA(self, server, session, envelope):
        if envelope.rcpt_tos[0].startswith('unwanted'):
            return '554 no thank you'
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        line = {'from': envelope.mail_from, 'to': envelope.rcpt_tos, 'id': message['message-id'],
                'headers': [[name.lower(), value] for name, value in message.items()],
                'text': message.get_content()}
        os.write(ledger, (json.dumps(line) + '\n').encode())
        return '250 taken'

    async def handle_QUIT(self, server, session, envelope):
        if getattr(session, 'lingers', False):
            await asyncio.sleep(3600)
        return '221 bye'


async def serve():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Sink(), hostname='sink', loop=loop), '127.0.0.1', int(sys.argv[1]))
    await server.serve_forever()

asyncio.run(serve())
