// What the package expects of a browser when it is loaded.
globalThis.window = globalThis;
globalThis.self = globalThis;
globalThis.document = { createElement: () => ({ getContext: () => null, style: {} }), addEventListener() {}, body: {} };
globalThis.navigator ??= { userAgent: 'node' };
globalThis.location = { href: 'http://localhost/' };
globalThis.Worker = class {};
