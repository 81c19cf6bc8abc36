// Access tokens are short: they are exchanged on the open connection.

import assert from 'node:assert/strict';
import { Screen, ask, screen, test } from '../harness.mjs';

test('a client is asked for a new token before its own ends, and stays connected', async () => {
  const { ann, bob, item, channel } = await ask('world');
  const lasts_s = 3;
  let calls = 0;
  const first = { token: await ask('token', { user: bob.id, lasts_s }) };
  const bobs = await screen(first, {
    getToken: async () => {
      calls += 1;
      const token = await ask('token', { user: bob.id, lasts_s: calls === 1 ? lasts_s : 600 });
      bobs.note('refreshed', calls);
      return token;
    },
  });
  await bobs.follow(channel);
  await bobs.until(() => calls === 2, 'two refreshes, one after another');
  // A refresh that the server did not take would be seen by now, or by the answer to this.
  await bobs.client.history(channel, { limit: 1 });
  await ask('adjust', { user: ann.id, item });
  await bobs.until(() => bobs.offsets(channel).length === 1, 'the change');
  assert.deepEqual(bobs.told('error'), []);
  assert.equal(bobs.told('connecting').length, 1, 'the connection stayed');
});

test('a client that comes with an expired token is asked for another', async () => {
  const { bob } = await ask('world');
  const first = { token: await ask('token', { user: bob.id, lasts_s: -60 }) };
  const bobs = new Screen(first, { getToken: async () => bob.token });
  bobs.client.connect();
  await bobs.until(() => bobs.told('connected').length, 'connected');
});

test('a new token that is somebody else\'s, or none, ends the connection', async () => {
  const { bob, eve } = await ask('world');
  for (const second of [eve.token, 'nonsense']) {
    const first = { token: await ask('token', { user: bob.id, lasts_s: 2 }) };
    const bobs = await screen(first, { getToken: async () => second });
    await bobs.until(() => bobs.told('disconnected', 3500).length, 'the end');
  }
});
