// A page that follows one group and one item, with a published stream client.
//
// The runner starts it as `node watch.mjs CLIENT ADDRESS`; the name says package and
// version.  Everything the client tells is one line of JSON on stdout.  Custom events are
// also how the runner drives it: `enough` ends the subscription of the item, `bye` all.

import { createRequire, register } from 'node:module'
import { WebSocket } from 'ws'

const [, , name, address] = process.argv
const TOKEN = ['Authorization', 'tok']

// What a browser has: a WebSocket whose errors are events, not exceptions.
class BrowserSocket extends WebSocket {
  constructor(...parameters) {
    super(...parameters)
    this.on('error', () => {})
  }
}

async function load() {
  if (name.startsWith('browser')) globalThis.WebSocket = BrowserSocket
  // 0.6.4 has code for `require`, the code for `import` has no type in its package.json.
  if (name === 'node-0.6.4') return createRequire(import.meta.url)(name)
  // 0.2.2 is made for bundlers: ES modules that import each other without a suffix.
  if (name === 'browser-0.2.2') register('./bundled.mjs', import.meta.url)
  return import(name)
}

const say = (what, state) => console.log(JSON.stringify({ what, state }))
const { Stream } = await load()
// Releases that take no protocols ignore them.
const stream = new Stream(address, { protocols: TOKEN })
const group = stream.subscribeGroup('watched', 'g')
const item = stream.subscribeItem('watched', 'g', '1')

for (const [what, subscription] of Object.entries({ group, item })) {
  subscription.addChangeListener((state) => say(what, state))
  subscription.onEvent('typing', (data) => say(`${what} heard`, data))
}
item.onEvent('enough', () => {
  item.close()
  say('left', null)
})
group.onEvent('bye', () => {
  stream.close()
  console.log('program done')
  setTimeout(() => process.exit(0), 300)
})
console.log('program ready')
