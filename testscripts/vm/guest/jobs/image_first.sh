# shellcheck shell=sh disable=SC1091,SC2154 # agent runs it, and has set $kernel
# What a machine finds that starts from an image, whose modules were built
# elsewhere and left for this machine to sign.
section unit systemctl show dkms.service -p ActiveState,Result
section journal journalctl -b -u dkms.service -o cat --no-pager
section status dkms status
section signer modinfo -F sig_id dkms_demo
section modules cat /proc/modules
section keys find / -xdev '(' -name 'mok.key' -o -name '*.priv' ')'
section generate dkms generate_mok
# The key stays here as a credential that only the service can read.
section credential systemd-creds encrypt --name=mok.key /var/lib/dkms/mok.key /root/mok.key
rm /var/lib/dkms/mok.key
mkdir -p /etc/systemd/system/dkms.service.d
printf '[Service]\nLoadCredentialEncrypted=mok.key:/root/mok.key\n' >/etc/systemd/system/dkms.service.d/key.conf
cat >>/etc/dkms/framework.conf <<-END
	mok_signing_key="/run/credentials/dkms.service/mok.key"
	mok_certificate="/var/lib/dkms/mok.pub"
END
