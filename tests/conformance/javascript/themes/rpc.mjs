// The API over the open connection: a method is a request line, an answer has the status it would have.

import assert from 'node:assert/strict';
import { ask, packed, plain, screen, test } from '../harness.mjs';

async function call(one, line, request = {}) {
  return plain((await one.client.rpc(line, packed(request))).data);
}

test('a change that is made over the connection is answered and heard like any other', async () => {
  const { ann, bob, item, channel } = await ask('world');
  const [anns, bobs] = await Promise.all([screen(ann), screen(bob)]);
  await bobs.follow(channel);
  const body = { delta: 5, reason: 'delivered' };
  const answer = await call(anns, `POST /api/inventory/${item}/adjust`, { body, headers: {} });
  assert.equal(answer.status, 200);
  assert.equal(answer.body.data.quantity, 5);
  assert.ok(Object.keys(answer.headers).some((name) => name.toLowerCase() === 'x-request-id'));
  await bobs.until(() => bobs.offsets(channel).length === 1, 'the change');
  assert.deepEqual(bobs.quantities(channel), [5]);
});

test('reading needs no body', async () => {
  const { bob, item } = await ask('world');
  const bobs = await screen(bob);
  const answer = await call(bobs, `GET /api/inventory/${item}`);
  assert.deepEqual([answer.status, answer.body.data.id], [200, item]);
});

test('headers count: a version that is not the current one is refused', async () => {
  const { ann, item } = await ask('world');
  const anns = await screen(ann);
  const path = `/api/inventory/${item}`;
  const change = { body: { name: 'Tea' }, headers: { 'If-Match': '"99"' } };
  assert.equal((await call(anns, `PATCH ${path}`, change)).status, 412);
});

test('what may not be done is answered as over HTTP, and the connection stays', async () => {
  const { bob, eve, item } = await ask('world');
  const [bobs, eves] = await Promise.all([screen(bob), screen(eve)]);
  const body = { delta: 1, reason: 'delivered' };
  assert.equal((await call(bobs, `POST /api/inventory/${item}/adjust`, { body })).status, 403);
  assert.equal((await call(eves, `POST /api/inventory/${item}/adjust`, { body })).status, 404);
  assert.equal((await call(eves, `POST /api/inventory/${item}/adjust`, { body: { delta: 'x' } })).status, 422);
  assert.equal(eves.told('connecting').length, 1);
});

test('what is no request line is no method', async () => {
  const { bob } = await ask('world');
  const bobs = await screen(bob);
  await assert.rejects(bobs.client.rpc('nonsense', packed({})), { code: 104 });
});
