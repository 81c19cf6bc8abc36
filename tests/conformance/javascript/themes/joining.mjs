// Connecting, subscribing, hearing what happens; and being told no.

import assert from 'node:assert/strict';
import { Screen, ask, packed, screen, stage, test, upTo } from '../harness.mjs';

test('a client connects and learns its id and the way it came', async () => {
  const { ann } = await ask('world');
  const screenOfAnn = await screen(ann);
  const [[, connected]] = screenOfAnn.told('connected');
  assert.match(connected.client, /^client_[0-9a-z]+$/);
  assert.equal(connected.transport, stage.transport.split('-')[0]);
});

test('a subscriber hears every change, in order, from the position it was told', async () => {
  const { ann, bob, item, channel } = await ask('world');
  const bobs = await screen(bob);
  await bobs.follow(channel);
  const [[, , { streamPosition, recoverable, positioned }]] = bobs.told('subscribed', channel);
  assert.deepEqual([streamPosition.offset, recoverable, positioned], [1, true, true]);
  assert.ok(streamPosition.epoch);
  await ask('adjust', { user: ann.id, item, count: 20 });
  await bobs.until(() => bobs.offsets(channel).length >= 20, '20 changes');
  assert.deepEqual(bobs.offsets(channel), upTo(21, 2));
  assert.deepEqual(bobs.quantities(channel), upTo(20));
});

test('what is foreign is refused, and what no channel is called', async () => {
  const { eve, channel } = await ask('world');
  const eves = await screen(eve);
  eves.watch(channel);
  eves.watch('nonsense');
  await eves.until(() => eves.told('unsubscribed', channel, 103).length, 'a refusal');
  await eves.until(() => eves.told('unsubscribed', 'nonsense', 102).length, 'a refusal');
});

test('a client that is subscribed cannot publish past the API', async () => {
  const { bob, channel } = await ask('world');
  const bobs = await screen(bob);
  await bobs.follow(channel);
  await assert.rejects(bobs.client.publish(channel, packed({ sold: 3 })), (error) => [103, 108].includes(error.code));
});

test('a token that was never one ends the connection for good', async () => {
  const screenOfNobody = new Screen({ token: 'nonsense' });
  screenOfNobody.client.connect();
  await screenOfNobody.until(() => screenOfNobody.told('disconnected', 3500).length, 'the end');
  assert.equal(screenOfNobody.told('connected').length, 0);
});

test('who unsubscribes hears nothing more, and may come back', async () => {
  const { ann, bob, item, channel } = await ask('world');
  const bobs = await screen(bob);
  const anns = await screen(ann);
  const sub = await bobs.follow(channel);
  await anns.follow(channel);
  sub.unsubscribe();
  await bobs.until(() => bobs.told('unsubscribed', channel, 0).length, 'unsubscribed');
  await ask('adjust', { user: ann.id, item, count: 2 });
  await anns.until(() => anns.offsets(channel).length === 2, '2 changes');
  sub.subscribe();
  await bobs.until(() => bobs.told('subscribed', channel).length === 2, 'subscribed again');
  await ask('adjust', { user: ann.id, item });
  await bobs.until(() => bobs.offsets(channel).includes(4), 'the third change');
});

test('what a client says to a process that does not hold its stream is carried there', async () => {
  const { ann, bob, item, channel } = await ask('world');
  const bobs = await screen(bob, { emulationEndpoint: `${stage.elsewhere}/emulation` });
  const sub = await bobs.follow(channel);
  await ask('adjust', { user: ann.id, item, count: 3 });
  await bobs.until(() => bobs.offsets(channel).length >= 3, '3 changes');
  assert.deepEqual(bobs.offsets(channel), [2, 3, 4]);
  assert.equal((await sub.history({ limit: 2 })).offset, 4);
  assert.equal(bobs.told('connecting').length, 1);
});

test('many clients at once, whose requests land on any process, are each answered', async () => {
  const { ann, bob, item, channel } = await ask('world');
  const options = [{}, { emulationEndpoint: `${stage.elsewhere}/emulation` }];
  const open = (number) => screen(number % 2 ? ann : bob, options[number % 2]);
  const all = await Promise.all(upTo(20).map(open));
  const subs = await Promise.all(all.map((one) => one.follow(channel)));
  await ask('adjust', { user: ann.id, item, count: 3 });
  await Promise.all(all.map((one) => one.until(() => one.offsets(channel).length >= 3, '3 changes')));
  for (const one of all) assert.deepEqual(one.offsets(channel), [2, 3, 4]);
  const pages = await Promise.all(subs.map((sub) => sub.history({ limit: 2 })));
  assert.ok(pages.every((page) => page.publications.length === 2 && page.offset === 4));
  assert.ok(all.every((one) => one.told('connecting').length === 1), 'nobody had to come back');
});
