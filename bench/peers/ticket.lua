-- What nginx does with a purchase (nginx_lua.conf). The few lines of Redis' protocol that one EVALSHA
-- needs are our own, since Debian has no Lua client of Redis for nginx.
local ticket = {}

local GRANTED = '{"code":1,"msg":"抢票成功","data":{"reservation":"ticket~%s"}}'
local SOLD_OUT = '{"code":-1,"msg":"已售罄"}'
local UNAVAILABLE = '{"code":-6,"msg":"服务暂不可用，请稍后再试"}'
local ID_CHARACTERS = 26
local CONNECTIONS_KEPT = 1024
local KEPT_MS = 60000
local CONNECT_MS, SEND_MS, ANSWER_MS = 1000, 1000, 2000

local sale = ngx.shared.sale
local host, port, call

local function word(text)
    return '$' .. #text .. '\r\n' .. text .. '\r\n'
end

-- Where Redis is, and the SHA of the script that sells. Without them, the sale is sold out.
function ticket.start(redis_host, redis_port, sha)
    if not redis_host then
        sale:set('sold_out', true)
        return
    end
    host, port = redis_host, redis_port
    call = '*7\r\n' .. word('EVALSHA') .. word(sha) .. word('2')
        .. word('ticket_hash_key') .. word('ticket_stream')
end

-- 1 (granted), 0 (sold out), or nil and why not.
local function sell(id)
    local redis = ngx.socket.tcp()
    redis:settimeouts(CONNECT_MS, SEND_MS, ANSWER_MS)
    local ok, why = redis:connect(host, port)
    if not ok then
        return nil, why
    end
    ok, why = redis:send(call .. word(id) .. word(ngx.var.http_x_user_id or ''))
    if not ok then
        return nil, why
    end
    local line
    line, why = redis:receive()
    if not line then
        return nil, why
    end
    redis:setkeepalive(KEPT_MS, CONNECTIONS_KEPT)
    if line == ':1' or line == ':0' then
        return tonumber(line:sub(2))
    end
    return nil, line
end

-- Answers with a body whose length is known, so that it isn't chunked.
local function say(body)
    ngx.header.content_length = #body
    ngx.print(body)
end

function ticket.buy()
    if sale:get('sold_out') then
        return say(SOLD_OUT)
    end
    local id = ngx.var.request_id:sub(1, ID_CHARACTERS)
    local sold, why = sell(id)
    if sold == 1 then
        return say(GRANTED:format(id))
    elseif sold == 0 then
        sale:set('sold_out', true)
        return say(SOLD_OUT)
    end
    ngx.log(ngx.ERR, 'Redis: ', why)
    ngx.status = ngx.HTTP_SERVICE_UNAVAILABLE
    say(UNAVAILABLE)
end

return ticket
