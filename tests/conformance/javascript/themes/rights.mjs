// What the server joins for a client and takes away from it, on the open connection.

import assert from 'node:assert/strict';
import { ask, screen, test } from '../harness.mjs';

const joined = (one, channel) => one.told('joined', channel).length > 0;

test('a client is in its own channels and in those of its teams from the start', async () => {
  const { bob, team } = await ask('world');
  const bobs = await screen(bob);
  for (const channel of [`user:${bob.id}`, `notifications:${bob.id}`, `team:${team}`]) {
    await bobs.until(() => joined(bobs, channel), channel);
  }
});

test('who is removed from a team is unsubscribed from what is the team\'s', async () => {
  const { ann, bob, team, item, channel } = await ask('world');
  const bobs = await screen(bob);
  const anns = await screen(ann);
  await bobs.follow(channel);
  await anns.follow(channel);
  const removed = { user: ann.id, method: 'DELETE', path: `/teams/${team}/members/${bob.id}` };
  assert.ok((await ask('rest', removed)).status < 300);
  await bobs.until(() => bobs.told('unsubscribed', channel, 2000).length, 'unsubscribed');
  await bobs.until(() => bobs.told('left', `team:${team}`).length, 'out of the team');
  await ask('adjust', { user: ann.id, item });
  await anns.until(() => anns.offsets(channel).length === 1, 'the change');
  assert.deepEqual(bobs.offsets(channel), [], 'it was not for Bob any more');
  assert.equal(bobs.told('connecting').length, 1, 'the connection stayed');
});

test('who is added to a team is in its channel without connecting again', async () => {
  const { ann, bob, eve, team } = await ask('world');
  const eves = await screen(eve);
  const channel = `team:${team}`;
  assert.ok(!joined(eves, channel), 'she is a stranger at first');
  const added = { user: ann.id, method: 'POST', path: `/teams/${team}/members`, body: { userId: eve.id, role: 'viewer' } };
  assert.equal((await ask('rest', added)).status, 201);
  await eves.until(() => joined(eves, channel), 'joined');
  const promoted = { user: ann.id, method: 'PUT', path: `/teams/${team}/members/${bob.id}`, body: { role: 'member' } };
  assert.ok((await ask('rest', promoted)).status < 300);
  await eves.until(() => eves.types(channel).includes('teams.role_changed'), 'the news');
  assert.equal(eves.told('connecting').length, 1);
});

test('a session that ends takes its connections with it', async () => {
  const { bob } = await ask('world');
  const bobs = await screen(bob);
  assert.ok((await ask('rest', { user: bob.id, method: 'POST', path: '/auth/logout' })).status < 300);
  await bobs.until(() => bobs.told('disconnected', 3500).length, 'the end');
});
