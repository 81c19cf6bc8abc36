// Follow a team's stock: node listen.mjs http://127.0.0.1:8000 EMAIL PASSWORD TEAM (Ctrl-C stops it).
//
// Uses the official client of the Centrifugal protocol: npm install centrifuge ws
// (In a browser, and from Node 22 on, there is a WebSocket already: leave out `ws`.)
import { Centrifuge, UnauthorizedError } from 'centrifuge';
import WebSocket from 'ws';

const [server, email, password, team] = process.argv.slice(2);
const channel = `inventory:${team}`;
const items = new Map();
let session = null;

// The session. An access token lasts ten minutes; a refresh token is good once, for the next pair of tokens.
async function ask(method, path, body) {
  const headers = { 'Content-Type': 'application/json' };
  if (session) headers.Authorization = `Bearer ${session.accessToken}`;
  const response = await fetch(server + path, { method, headers, body: body && JSON.stringify(body) });
  const answer = await response.json();
  if (response.ok) return answer;
  throw response.status === 401 ? new UnauthorizedError(answer.detail) : new Error(answer.detail);
}

async function renew() {
  session = (await ask('POST', '/api/auth/refresh', { refreshToken: session.refreshToken })).data;
  return session.accessToken;
}

// What there is, and the position it is true for: called at first, and whenever the client must look again.
async function look() {
  items.clear();
  let position = null;
  let cursor = '';
  do {
    const page = await ask('GET', `/api/inventory?teamId=${team}&limit=100${cursor}`);
    for (const item of page.data) items.set(item.id, item);
    position ??= page.position;
    cursor = page.nextCursor && `&cursor=${encodeURIComponent(page.nextCursor)}`;
  } while (cursor);
  console.log(`looked: ${items.size} items at ${position.offset}`);
  return { offset: position.offset, epoch: position.epoch };
}

// What happens from there on. A later page may have had it already: the version tells.
function apply({ type, data: { item } }) {
  if (type === 'inventory.deleted') items.delete(item.id);
  else if (!(items.get(item.id)?.version > item.version)) items.set(item.id, item);
}

session = (await ask('POST', '/api/auth/login', { email, password })).data;
const client = new Centrifuge(`${server.replace('http', 'ws')}/connection/websocket`, {
  token: session.accessToken,
  getToken: renew,
  websocket: WebSocket,
});
const stock = client.newSubscription(channel, { getState: look });

stock.on('subscribed', () => console.log(`following ${channel}`));
stock.on('publication', ({ offset, data }) => {
  apply(data);
  const { name, quantity, unit } = data.data.item;
  console.log(`${String(offset).padStart(4)}  ${data.type}  ${name}: ${quantity} ${unit}`);
});
stock.on('error', ({ error }) => console.log(`trying again: ${error.message}`));
stock.on('unsubscribed', ({ code, reason }) => console.log(`not following any more: ${code} ${reason}`));
client.on('connecting', ({ code, reason }) => console.log(`connecting: ${code} ${reason}`));
client.on('disconnected', ({ code, reason }) => {
  console.log(`over: ${code} ${reason}`);
  process.exit(1);
});

stock.subscribe();
client.connect();
