// Who is there.

import assert from 'node:assert/strict';
import { ask, screen, test } from '../harness.mjs';

const usersOf = (answer) => Object.values(answer.clients).map((one) => one.user).sort();

test('who is in a team\'s presence channel is shown to those who are too, with all their screens', async () => {
  const { ann, bob, team } = await ask('world');
  const channel = `presence:${team}`;
  const [anns, bobs, second] = await Promise.all([screen(ann), screen(bob), screen(bob)]);
  const sub = await anns.follow(channel);
  await bobs.follow(channel);
  await second.follow(channel);
  const there = await sub.presence();
  assert.deepEqual(usersOf(there), [ann.id, bob.id, bob.id].sort());
  const [[, { client }]] = anns.told('connected');
  assert.equal(there.clients[client].user, ann.id);
  assert.deepEqual(await sub.presenceStats(), { numClients: 3, numUsers: 2 });
});

test('who comes and who goes is told', async () => {
  const { ann, bob, team } = await ask('world');
  const channel = `presence:${team}`;
  const anns = await screen(ann);
  await anns.follow(channel, { joinLeave: true });
  const bobs = await screen(bob);
  await bobs.follow(channel, { joinLeave: true });
  await anns.until(() => anns.told('join', channel, bob.id).length, 'he comes');
  bobs.client.disconnect();
  await anns.until(() => anns.told('leave', channel, bob.id).length, 'he goes');
});

test('a stranger sees nobody', async () => {
  const { ann, eve, team } = await ask('world');
  const channel = `presence:${team}`;
  const anns = await screen(ann);
  await anns.follow(channel);
  const eves = await screen(eve);
  await assert.rejects(eves.client.presence(channel), { code: 103 });
  eves.watch(channel);
  await eves.until(() => eves.told('unsubscribed', channel, 103).length, 'a refusal');
});

test('what keeps no presence says so', async () => {
  const { bob, channel } = await ask('world');
  const bobs = await screen(bob);
  await assert.rejects(bobs.client.presence(channel), { code: 108 });
});
