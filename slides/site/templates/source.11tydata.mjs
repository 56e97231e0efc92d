const address = ({ source }) => source.address

export default { permalink: address, eleventyComputed: { address, title: ({ source }) => source.path } }
