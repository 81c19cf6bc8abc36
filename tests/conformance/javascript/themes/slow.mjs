// A network of a few kilobytes a second.

import assert from 'node:assert/strict';
import { ask, screen, test, upTo } from '../harness.mjs';

test('a line of 4 KB/s loses, doubles and disorders nothing', async () => {
  const { ann, bob, item, channel } = await ask('world');
  const line = await ask('line', { bytes_per_s: 4096 });
  const bobs = await screen(bob, { url: line, timeout: 15_000 });
  await bobs.follow(channel);
  await ask('adjust', { user: ann.id, item, count: 60 });
  await bobs.until(() => bobs.offsets(channel).length >= 60, '60 changes', 45_000);
  assert.deepEqual(bobs.offsets(channel), upTo(61, 2));
  assert.deepEqual(bobs.quantities(channel), upTo(60));
  assert.equal(bobs.told('connecting').length, 1, 'the connection stayed');
});

test('one whose line is slow keeps nobody waiting', async () => {
  const { ann, bob, item, channel } = await ask('world');
  const line = await ask('line', { bytes_per_s: 1024 });
  const [bobs, anns] = await Promise.all([screen(bob, { url: line, timeout: 15_000 }), screen(ann)]);
  await bobs.follow(channel);
  await anns.follow(channel);
  await ask('adjust', { user: ann.id, item, count: 30 });
  await anns.until(() => anns.offsets(channel).length >= 30, '30 changes');
  assert.ok(bobs.offsets(channel).length < 30, 'his line must be the slower one for this to mean anything');
  await bobs.until(() => bobs.offsets(channel).length >= 30, '30 changes', 45_000);
  assert.deepEqual(bobs.offsets(channel), anns.offsets(channel));
});
