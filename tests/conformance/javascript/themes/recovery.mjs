// A connection that breaks: what happened meanwhile arrives afterwards, once and in order.

import assert from 'node:assert/strict';
import { ask, screen, test, upTo } from '../harness.mjs';

test('what was missed while the line was cut arrives once and in order', async () => {
  const { ann, bob, item, channel } = await ask('world');
  const line = await ask('line');
  const bobs = await screen(bob, { url: line });
  await bobs.follow(channel);
  await ask('adjust', { user: ann.id, item, count: 3 });
  await bobs.until(() => bobs.offsets(channel).length === 3, '3 changes');
  await ask('cut', { line });
  await bobs.until(() => bobs.told('connecting').length > 1, 'the cut');
  await ask('adjust', { user: ann.id, item, count: 5 });
  await ask('mend', { line });
  await bobs.until(() => bobs.told('connected').length > 1, 'the return');
  await ask('adjust', { user: ann.id, item, count: 2 });
  await bobs.until(() => bobs.offsets(channel).length >= 10, '10 changes');
  assert.deepEqual(bobs.offsets(channel), upTo(11, 2));
  assert.deepEqual(bobs.quantities(channel), upTo(10));
  const again = bobs.told('subscribed', channel).at(-1)[2];
  assert.deepEqual([again.wasRecovering, again.recovered], [true, true]);
});

test('who missed nothing is told so', async () => {
  const { bob, channel } = await ask('world');
  const line = await ask('line');
  const bobs = await screen(bob, { url: line });
  await bobs.follow(channel);
  await ask('cut', { line });
  await bobs.until(() => bobs.told('connecting').length > 1, 'the cut');
  await ask('mend', { line });
  await bobs.until(() => bobs.told('subscribed', channel).length === 2, 'the return');
  const again = bobs.told('subscribed', channel).at(-1)[2];
  assert.deepEqual([again.recovered, again.hasRecoveredPublications], [true, false]);
  assert.deepEqual(bobs.offsets(channel), []);
});

test('five cuts in the middle of a hundred changes lose, double and disorder nothing', async () => {
  const { ann, bob, item, channel } = await ask('world');
  const line = await ask('line');
  const bobs = await screen(bob, { url: line });
  await bobs.follow(channel);
  const writing = ask('adjust', { user: ann.id, item, count: 100 });
  for (const cuts of upTo(5)) {
    await bobs.until(() => bobs.offsets(channel).length >= cuts * 10, 'some changes');
    await ask('cut', { line });
    await ask('mend', { line });
    await bobs.until(() => bobs.told('connected').length > cuts, 'the return');
  }
  await writing;
  await bobs.until(() => bobs.offsets(channel).length >= 100, '100 changes');
  assert.deepEqual(bobs.offsets(channel), upTo(101, 2));
  assert.deepEqual(bobs.quantities(channel), upTo(100));
});

test('what the server has joined for a client is recovered too', async () => {
  const { ann, bob, eve, team } = await ask('world');
  const line = await ask('line');
  const bobs = await screen(bob, { url: line });
  const channel = `team:${team}`;
  await bobs.until(() => bobs.told('joined', channel).length, 'joined');
  await ask('cut', { line });
  await bobs.until(() => bobs.told('connecting').length > 1, 'the cut');
  const added = { user: ann.id, method: 'POST', path: `/teams/${team}/members`, body: { userId: eve.id, role: 'viewer' } };
  assert.equal((await ask('rest', added)).status, 201);
  await ask('mend', { line });
  await bobs.until(() => bobs.types(channel).length, 'the news');
  assert.deepEqual(bobs.types(channel), ['teams.member_added']);
  assert.equal(bobs.told('joined', channel).at(-1)[2].recovered, true);
});

test('a position that is not known any more is not recovered, and said to be so', async () => {
  const { ann, bob, item, channel } = await ask('world');
  await ask('adjust', { user: ann.id, item, count: 3 });
  const bobs = await screen(bob);
  await bobs.follow(channel, { since: { offset: 1, epoch: 'another' } });
  const [[, , told]] = bobs.told('subscribed', channel);
  assert.deepEqual([told.wasRecovering, told.recovered, told.streamPosition.offset], [true, false, 4]);
});

test('a page that reads its state and then follows misses nothing in between', async () => {
  const { ann, bob, item, channel } = await ask('world');
  const bobs = await screen(bob);
  const first = await bobs.client.history(channel, { limit: 0 });
  await ask('adjust', { user: ann.id, item, count: 4 });
  await bobs.follow(channel, { getState: async () => ({ offset: first.offset, epoch: first.epoch }) });
  await bobs.until(() => bobs.offsets(channel).length >= 4, '4 changes');
  assert.deepEqual(bobs.offsets(channel), upTo(5, 2));
});
