const address = ({ step }) => `diff/${step.after}.html`

export default { permalink: address, eleventyComputed: { address, title: ({ step }) => `${step.before} → ${step.after}` } }
