// Paging through what has happened.

import assert from 'node:assert/strict';
import { ask, plain, screen, test, upTo } from '../harness.mjs';

async function stockedScreen() {
  const world = await ask('world');
  await ask('adjust', { user: world.ann.id, item: world.item, count: 24 });
  const bobs = await screen(world.bob);
  const sub = await bobs.follow(world.channel);
  return { ...world, bobs, sub };
}

test('pages forward, each from where the last one ended, give all of it once', async () => {
  const { sub } = await stockedScreen();
  const read = [];
  let since;
  for (;;) {
    const page = await sub.history({ limit: 7, ...(since ? { since } : {}) });
    assert.equal(page.offset, 25);
    if (page.publications.length === 0) break;
    read.push(...page.publications);
    since = { offset: read.at(-1).offset, epoch: page.epoch };
  }
  assert.deepEqual(read.map((one) => one.offset), upTo(25));
  assert.equal(plain(read[0].data).type, 'inventory.created');
  assert.equal(plain(read[24].data).data.item.quantity, 24);
});

test('pages backward begin with the newest', async () => {
  const { sub } = await stockedScreen();
  const first = await sub.history({ limit: 5, reverse: true });
  assert.deepEqual(first.publications.map((one) => one.offset), [25, 24, 23, 22, 21]);
  const since = { offset: 21, epoch: first.epoch };
  const second = await sub.history({ limit: 3, reverse: true, since });
  assert.deepEqual(second.publications.map((one) => one.offset), [20, 19, 18]);
});

test('a limit of nothing asks where the stream is', async () => {
  const { bobs, channel } = await stockedScreen();
  const page = await bobs.client.history(channel, { limit: 0 });
  assert.deepEqual([page.publications, page.offset], [[], 25]);
  assert.ok(page.epoch);
});

test('a position of another epoch is refused', async () => {
  const { sub } = await stockedScreen();
  const since = { offset: 3, epoch: 'another' };
  await assert.rejects(sub.history({ limit: 5, since }), { code: 112 });
});

test('what is foreign has no history either', async () => {
  const { eve, channel } = await ask('world');
  const eves = await screen(eve);
  await assert.rejects(eves.client.history(channel, { limit: 5 }), { code: 103 });
});
