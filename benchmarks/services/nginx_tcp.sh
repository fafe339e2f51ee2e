# 20,000 requests over 4 connections of loopback; network.py
. /mnt/macro/lib.sh
mkdir -p /tmp/www /tmp/nginx
printf '%01000d' 0 >/tmp/www/index.html
cat >/tmp/nginx.conf <<'END'
user root;
worker_processes 1;
pid /tmp/nginx/pid;
error_log /tmp/nginx/error;
events { worker_connections 100; }
http {
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path /tmp/nginx/body;
    proxy_temp_path /tmp/nginx/proxy;
    fastcgi_temp_path /tmp/nginx/fastcgi;
    uwsgi_temp_path /tmp/nginx/uwsgi;
    scgi_temp_path /tmp/nginx/scgi;
    server { listen 127.0.0.1:8090; root /tmp/www; }
}
END
nginx -c /tmp/nginx.conf -e /tmp/nginx/error -g 'daemon off;' &
await_port 8090
timed /mnt/httpload 127.0.0.1:8090 4 20000
kill $!
