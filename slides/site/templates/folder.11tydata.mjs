const address = ({ folder }) => folder.address

export default { permalink: address, eleventyComputed: { address, title: ({ folder }) => folder.path } }
