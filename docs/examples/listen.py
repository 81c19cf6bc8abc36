"""Print a channel's publications with their offsets: python listen.py URL TOKEN CHANNEL (Ctrl-C stops it).

Uses the official client of the Centrifugal protocol: pip install centrifuge-python
"""

import asyncio
import sys

from centrifuge import Client, PublicationContext, SubscribedContext, SubscriptionEventHandler


class Printer(SubscriptionEventHandler):
    async def on_subscribed(self, ctx: SubscribedContext) -> None:
        how = "recovered" if ctx.recovered else "subscribed"
        print(f"{how} to {ctx.channel}", flush=True)

    async def on_publication(self, ctx: PublicationContext) -> None:
        news = ctx.pub.data
        print(f"{ctx.pub.offset:>4}  {news['type']}  {news['data']}", flush=True)


async def main(url: str, token: str, channel: str) -> None:
    client = Client(url, token=token)
    subscription = client.new_subscription(channel, events=Printer())
    await client.connect()
    await subscription.subscribe()
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
