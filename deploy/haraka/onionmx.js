// Haraka: sends mail for domains with an onion MX, and for every name under .onion, to `onionmx relay` by SMTP.
// docs/other-mtas.md, "Haraka", says where this file goes and what to set beside it.
'use strict'

const http = require('node:http')

exports.register = function () {
    const { lookups = '127.0.0.1:10030', relay = '127.0.0.1:10025' } = this.config.get('onionmx.ini').main
    this.lookups = place(lookups, 'host', 'socketPath')
    this.relay = { ...place(relay, 'exchange', 'path'), priority: 0 }
    this.register_hook('get_mx', 'onion_mx')
}

exports.onion_mx = function (next, hmail, domain) {
    if (domain.startsWith('[')) return next() // an address literal

    let request
    let isOver = false
    const end = (...answer) => {
        if (isOver) return
        isOver = true
        clearTimeout(timer)
        next(...answer)
    }
    // A domain without any MX waits. DENYSOFT can end in the open DNS: plugins such as karma overrule it.
    const wait = (why) => {
        if (isOver) return
        hmail.logwarn(`whether ${domain} has an onion MX is not known: ${why}`)
        end(OK, [])
        request?.destroy()
    }
    // Before Haraka times out, and asks the open DNS.
    const timer = setTimeout(() => wait('no answer in time'), (this.timeout || 30) * 900)
    try {
        const path = `/domains/${encodeURIComponent(domain)}`
        request = http.get({ ...this.lookups, path, agent: false }, (response) => {
            response.destroy() // the header has the answer
            const { statusCode, headers } = response
            if (statusCode === 200) end(OK, { ...this.relay })
            else if (statusCode === 404 && headers['onionmx-answer'] === 'no route') end() // any other 404 is no answer
            else wait(`the lookups said ${statusCode}, ${headers['onionmx-answer'] ?? 'which is no answer'}`)
        })
        request.on('error', (error) => wait(error.message))
        request.on('close', () => wait('the connection ended without an answer')) // such as after 101
    } catch (error) {
        wait(error.message) // after an exception Haraka would ask the open DNS
    }
}

function place(text, host, path) {
    if (text.startsWith('/')) return { [path]: text }
    const [, address, port] = /^\[?(.+?)\]?:(\d+)$/.exec(text)
    return { [host]: address, port: Number(port) }
}
