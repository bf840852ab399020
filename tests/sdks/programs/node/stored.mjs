// The part of the program that has to do with state and streams.
//
// The SDK has types for operations and results, but no code: they are plain objects.
// `own` is a stream the program keeps itself, behind the release's `createStream`.

const VARIANTS = {
  basic: [
    { type: 'set', path: 'name', value: 'Z' },
    { type: 'increment', path: 'counter', by: 10 },
    { type: 'decrement', path: 'left', by: 1 },
    { type: 'remove', path: 'old' },
    { type: 'merge', path: '', value: { status: 'active' } },
  ],
  append: [
    { type: 'append', path: 'log', value: 'a' },
    { type: 'append', path: 'log', value: 'b' },
    { type: 'merge', path: ['deep', 'er'], value: { n: 1 } },
    { type: 'increment', path: 'name', by: 1 },
  ],
  nested: [{ type: 'append', path: ['x', 'log'], value: 'a' }],
}

// A stream kept in an array; `calls` notes what was asked of it.
function ownStream(calls) {
  const rows = []
  const find = ({ group_id, item_id }) =>
    rows.findIndex((row) => row.group === group_id && row.item === item_id)

  return {
    async get(input) {
      calls.push('get')
      if (input.item_id === 'broken') throw new Error('broken on purpose')
      return rows[find(input)]?.data ?? null
    },
    async set(input) {
      calls.push('set')
      const index = find(input)
      const row = { group: input.group_id, item: input.item_id, data: input.data }
      if (index < 0) {
        rows.push(row)
        return { old_value: null, new_value: input.data }
      }
      const [old] = rows.splice(index, 1, row)
      return { old_value: old.data, new_value: input.data }
    },
    async delete(input) {
      calls.push('delete')
      const index = find(input)
      return { old_value: index < 0 ? null : rows.splice(index, 1)[0].data }
    },
    async list(input) {
      calls.push('list')
      return rows.filter((row) => row.group === input.group_id).map((row) => row.data)
    },
    async listGroups() {
      calls.push('list_groups')
      return [...new Set(rows.map((row) => row.group))].sort()
    },
    // Part of the interface, registered by no release.
    async update() {
      throw new Error('nobody calls this')
    },
  }
}

export function registerStored(sdk, prefix) {
  const seen = { state: [], stream: [], join: [], leave: [], own: [] }
  const board = `${prefix}-board`

  function trigger(type, kind, config, answer = () => undefined) {
    sdk.function(`${prefix}::on-${kind}`, async (event) => {
      seen[kind].push(event)
      return answer(event)
    })
    sdk.trigger(type, `${prefix}::on-${kind}`, config)
  }

  sdk.function(`${prefix}::witnessed`, async () => seen)
  sdk.function(`${prefix}::operate`, async ({ function_id, target, variant }) =>
    sdk.call(function_id, { ...target, ops: VARIANTS[variant] }),
  )
  trigger('state', 'state', { scope: prefix })
  trigger('stream', 'stream', { stream_name: board, group_id: 'g' })
  trigger('stream:join', 'join', { stream_name: board }, (event) => ({
    unauthorized: event.group_id === 'secret',
  }))
  trigger('stream:leave', 'leave', { stream_name: board })
  sdk.createStream(`${prefix}-own`, ownStream(seen.own))
}
