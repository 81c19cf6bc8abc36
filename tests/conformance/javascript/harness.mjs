// What the themes stand on: tests in sentences, one after another; screens that note what the SDK tells them
// and wait for what is expected, not for a time; and `ask`, for what only the driver (javascript.py) can do.

import { createInterface } from 'node:readline';
import { Centrifuge as JsonCentrifuge } from 'centrifuge';
import { Centrifuge as ProtobufCentrifuge } from 'centrifuge/build/protobuf';
import { EventSource } from 'eventsource';
import WebSocket from 'ws';

export const stage = JSON.parse(process.argv[2]); // { transport: 'http_stream-json', url: 'http://…', elsewhere: 'http://…' }
const [transport, format] = stage.transport.split('-');
const TEST_WITHIN_MS = 60_000;
const WITHIN_MS = 15_000;

const tests = [];
const asked = new Map();
let asks = 0;
const screens = new Set();

/** A test: its name is a sentence about the product. */
export function test(name, body) {
  tests.push({ name, body });
}

/** Ask the driver; see the verbs of javascript.py. */
export function ask(what, args = {}) {
  asks += 1;
  const number = asks;
  return new Promise((resolve, reject) => {
    asked.set(number, { resolve, reject });
    say({ ask: number, what, with: args });
  });
}

/** A client that notes what it is told, as `who` of a world. */
export class Screen {
  constructor(who, { url = stage.url, ...options } = {}) {
    this.seen = {}; // channel -> [{ offset, entry }] in the order in which the handlers were called
    this.said = []; // [what, …]
    this.waiting = new Set();
    const Sdk = format === 'protobuf' ? ProtobufCentrifuge : JsonCentrifuge;
    this.client = new Sdk(endpoint(url), {
      token: who.token,
      websocket: WebSocket,
      eventsource: EventSource,
      emulationEndpoint: `${url}/emulation`,
      minReconnectDelay: 50,
      maxReconnectDelay: 500,
      ...options,
    });
    this.client.on('connecting', (ctx) => this.note('connecting', ctx.code));
    this.client.on('connected', (ctx) => this.note('connected', ctx));
    this.client.on('disconnected', (ctx) => this.note('disconnected', ctx.code));
    this.client.on('error', (ctx) => this.note('error', ctx.type, ctx.error.code, ctx.error.message));
    this.client.on('subscribed', (ctx) => this.note('joined', ctx.channel, ctx));
    this.client.on('unsubscribed', (ctx) => this.note('left', ctx.channel));
    this.client.on('publication', (ctx) => this.see(ctx));
    screens.add(this);
  }

  async connect() {
    this.client.connect();
    await this.client.ready(WITHIN_MS);
    return this;
  }

  /** Subscribe, and note what comes of it. */
  watch(channel, options = {}) {
    const sub = this.client.newSubscription(channel, {
      minResubscribeDelay: 50,
      maxResubscribeDelay: 500,
      ...options,
    });
    sub.on('subscribed', (ctx) => this.note('subscribed', channel, ctx));
    sub.on('subscribing', (ctx) => this.note('subscribing', channel, ctx.code));
    sub.on('unsubscribed', (ctx) => this.note('unsubscribed', channel, ctx.code));
    sub.on('error', (ctx) => this.note('refused', channel, ctx.error.code));
    sub.on('join', (ctx) => this.note('join', channel, ctx.info.user));
    sub.on('leave', (ctx) => this.note('leave', channel, ctx.info.user));
    sub.on('publication', (ctx) => this.see(ctx));
    sub.subscribe();
    return sub;
  }

  /** Subscribe, and wait until that is done. */
  async follow(channel, options = {}) {
    const sub = this.watch(channel, options);
    const refused = () => this.told('unsubscribed', channel).length > 0;
    await this.until(() => refused() || this.told('subscribed', channel).length, `subscribed to ${channel}`);
    if (refused()) throw new Error(`not subscribed to ${channel}: ${this.told('unsubscribed', channel)[0][2]}`);
    return sub;
  }

  see(ctx) {
    (this.seen[ctx.channel] ??= []).push({ offset: ctx.offset, entry: plain(ctx.data) });
    this.changed();
  }

  note(...what) {
    this.said.push(what);
    this.changed();
  }

  /** What was said that begins like this. */
  told(...what) {
    return this.said.filter((one) => what.every((part, place) => one[place] === part));
  }

  offsets(channel) {
    return (this.seen[channel] ?? []).map((one) => one.offset);
  }

  types(channel) {
    return (this.seen[channel] ?? []).map((one) => one.entry.type);
  }

  quantities(channel) {
    const adjusted = (this.seen[channel] ?? []).filter((one) => one.entry.type === 'inventory.adjusted');
    return adjusted.map((one) => one.entry.data.item.quantity);
  }

  /** Wait until what was seen or said makes the condition true. */
  until(condition, what, withinMs = WITHIN_MS) {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (!condition()) return;
        clearTimeout(timer);
        this.waiting.delete(look);
        resolve();
      };
      const timer = setTimeout(() => {
        this.waiting.delete(look);
        const said = this.said.map((one) => one.filter((part) => typeof part !== 'object').join(' '));
        reject(new Error(`it did not come: ${what ?? condition}; said: ${said.join(', ')}`));
      }, withinMs);
      this.waiting.add(look);
      look();
    });
  }

  changed() {
    for (const look of [...this.waiting]) look();
  }
}

/** A connected screen. */
export function screen(who, options) {
  return new Screen(who, options).connect();
}

/** A payload as the value it stands for: Protobuf hands over its bytes. */
export function plain(data) {
  return data instanceof Uint8Array ? JSON.parse(new TextDecoder().decode(data)) : data;
}

/** A value as this format sends it. */
export function packed(value) {
  return format === 'protobuf' ? new TextEncoder().encode(JSON.stringify(value)) : value;
}

/** 1, 2, … to. */
export function upTo(to, from = 1) {
  return Array.from({ length: Math.max(0, to - from + 1) }, (_, place) => from + place);
}

function endpoint(url) {
  if (transport === 'websocket') return `${url.replace('http', 'ws')}/connection/websocket`;
  return [{ transport, endpoint: `${url}/connection/${transport}` }];
}

function say(message) {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

async function play({ name, body }) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('it took too long')), TEST_WITHIN_MS);
  });
  try {
    await Promise.race([body(), late]);
    say({ test: name, ok: true });
  } catch (error) {
    say({ test: name, ok: false, why: String(error?.message ?? error).slice(0, 1500).replaceAll(/\s*\n\s*/g, ' ') });
  } finally {
    clearTimeout(timer);
    for (const one of screens) one.client.disconnect();
    screens.clear();
  }
}

createInterface({ input: process.stdin }).on('line', (line) => {
  const { answer, value, error } = JSON.parse(line);
  const { resolve, reject } = asked.get(answer);
  asked.delete(answer);
  if (error === undefined) resolve(value);
  else reject(new Error(error));
});

// When the theme has been read to its end.
setImmediate(async () => {
  for (const one of tests) await play(one);
  process.exit(0);
});
