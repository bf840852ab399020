// Loader hooks for a package that only bundlers can read: every file of it is an ES
// module, and its imports of each other lack `.js`.

const HOME = '/node_modules/browser-0.2.2/dist/'

export async function resolve(specifier, context, next) {
  const inside = context.parentURL?.includes(HOME) && specifier.startsWith('.')
  return next(inside ? `${specifier}.js` : specifier, context)
}

export async function load(url, context, next) {
  return next(url, url.includes(HOME) ? { ...context, format: 'module' } : context)
}
