# bash completion for dkms(8): reads directories, does not start dkms.

_dkms_modules() {
	local dir
	for dir in /var/lib/dkms/*/; do
		dir=${dir%/}
		[[ -d $dir ]] && echo "${dir##*/}"
	done
}

# _dkms_versions MODULE PREFIX lists the versions of a module.
_dkms_versions() {
	local dir
	for dir in "/var/lib/dkms/$1"/*/source; do
		dir=${dir%/source}
		[[ -d $dir ]] && echo "$2${dir##*/}"
	done
}

# _dkms_added lists MODULE/VERSION of what is added.
_dkms_added() {
	local name
	while read -r name; do
		_dkms_versions "$name" "$name/"
	done < <(_dkms_modules)
}

# _dkms_sources SEPARATOR lists source trees as NAME SEPARATOR VERSION. The
# version is taken to begin at the last dash before a digit.
_dkms_sources() {
	local dir
	for dir in /usr/src/*/dkms.conf; do
		dir=${dir%/dkms.conf} dir=${dir##*/}
		[[ $dir =~ ^(.+)-([0-9].*)$ ]] && echo "${BASH_REMATCH[1]}$1${BASH_REMATCH[2]}"
	done
}

_dkms_kernels() {
	local dir
	for dir in /lib/modules/*/; do
		dir=${dir%/}
		[[ -d $dir ]] && echo "${dir##*/}"
	done
}

# _dkms_reply WORD CANDIDATES fills COMPREPLY. Names of directories are up to
# whoever makes them: compgen -W would expand them, and the shell would run what
# is put on its line. Those that a shell knows more of than their letters are left
# out.
_dkms_reply() {
	local word words=()
	read -r -d '' -a words <<<"$2"
	COMPREPLY=()
	for word in ${words[@]+"${words[@]}"}; do
		[[ $word == "$1"* && $word != *[!A-Za-z0-9@%_+=:,./-]* ]] && COMPREPLY+=("$word")
	done
}

# _dkms_first WORD IDS offers the names of MODULE/VERSION and, where WORD has a
# name or only one is left, its versions.
_dkms_first() {
	local names
	_dkms_reply "$1" "$2"
	[[ $1 == */* ]] && return
	names=$(printf '%s\n' ${COMPREPLY[@]+"${COMPREPLY[@]%%/*}"} | sort -u)
	[[ $names == *$'\n'* ]] && mapfile -t COMPREPLY <<<"$names"
	return 0
}

_dkms() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local verb='' module='' word before='' i
	local verbs='add build install uninstall unbuild remove autoinstall status match
		mktarball ldtarball export import list check why log history doctor gc undo rehearse init lint sign mok generate_mok kernel_preinst kernel_postinst kernel_prerm version'
	local common='--verbose --quiet --debug --dkmstree --sourcetree --installtree --root --toolchain --help'
	local one='--module -v --kernelver --arch -c --config --directive --dry-run'
	COMPREPLY=()

	# "--option=value" comes as three words.
	if [[ $cur == = ]]; then
		cur=''
	elif [[ $prev == = ]]; then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
	fi

	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		[[ $word == = ]] && continue
		case $before in
		-m | --module) module=$word ;;
		-v | -k | --kernelver | -a | --arch | -c | -j | --config | --archive | --format | --busybox | --packager | --depends | --certificate) ;;
		--kernelsourcedir | --headers | --templatekernel | --directive | --env | --dkmstree | --sourcetree | --installtree | --root | --toolchain | --sign) ;;
		*)
			if [[ $word != -* && " ${verbs//[[:space:]]/ } " == *" $word "* ]]; then
				verb=$word
			elif [[ $word != -* && -z $module ]]; then
				module=$word
			fi
			;;
		esac
		before=$word
	done

	case $prev in
	-m | --module)
		if [[ $verb == add ]]; then
			_dkms_reply "$cur" "$(_dkms_sources / | sed "$([[ $cur == */* ]] || echo 's|/.*||')" | sort -u)"
		else
			_dkms_reply "$cur" "$(_dkms_modules)"
		fi
		return
		;;
	-v)
		_dkms_reply "$cur" "$(_dkms_versions "$module" ''; _dkms_sources ' ' | sed -n "s|^${module//[^A-Za-z0-9_+-]/.} ||p")"
		return
		;;
	-k | --kernelver | --templatekernel)
		_dkms_reply "$cur" "$(_dkms_kernels)"
		return
		;;
	-c | --config | --headers | --archive | --password-file | --hash-file | --busybox | --certificate)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		compopt -o filenames 2>/dev/null
		return
		;;
	--kernelsourcedir | --dkmstree | --sourcetree | --installtree | --root | --toolchain)
		mapfile -t COMPREPLY < <(compgen -d -- "$cur")
		compopt -o filenames 2>/dev/null
		return
		;;
	--sign)
		_dkms_reply "$cur" 'never host-key later'
		return
		;;
	--format)
		_dkms_reply "$cur" 'oci tar sysext deb rpm pacman apk'
		return
		;;
	-a | --arch | -j | --keep | --directive | --env | --packager | --depends) return ;;
	esac

	if [[ $cur == -* ]]; then
		case $verb in
		'') _dkms_reply "$cur" "$common --version" ;;
		add) _dkms_reply "$cur" "$common --module -v -c --archive --replace --force --rpm_safe_upgrade --directive --dry-run" ;;
		build) _dkms_reply "$cur" "--sign $common $one -j --env --replace --force --kernelsourcedir --archive --all-kernels" ;;
		install) _dkms_reply "$cur" "--sign $common $one -j --env --replace --force --force-version-override --kernelsourcedir --archive --no-depmod --symlink-modules --modprobe-on-install --rpm_safe_upgrade --all-kernels" ;;
		uninstall) _dkms_reply "$cur" "$common $one --all --no-depmod" ;;
		unbuild) _dkms_reply "$cur" "$common $one --all --no-depmod" ;;
		remove) _dkms_reply "$cur" "$common $one --all --no-depmod --rpm_safe_upgrade" ;;
		gc) _dkms_reply "$cur" "$common --keep --yes --no-depmod --dry-run" ;;
		undo) _dkms_reply "$cur" "$common --kernelver --arch --no-depmod --dry-run" ;;
		history) _dkms_reply "$cur" "$common --json" ;;
		autoinstall) _dkms_reply "$cur" "--sign $common --kernelver --arch -j --env --force --no-depmod --kernelsourcedir --config --dry-run --json --all-kernels" ;;
		list | status) _dkms_reply "$cur" "$common --module -v --kernelver --arch --json" ;;
		match) _dkms_reply "$cur" "$common --templatekernel --kernelver --arch -j --env --force --dry-run" ;;
		mktarball) _dkms_reply "$cur" "$common $one --all --archive --binaries-only --source-only" ;;
		ldtarball) _dkms_reply "$cur" "$common --archive --force --dry-run" ;;
		export) _dkms_reply "$cur" "$common --module -v --kernelver --arch --archive --format --busybox --packager --depends --force --dry-run --json" ;;
		import) _dkms_reply "$cur" "$common --module -v --kernelver --arch --certificate --insecure --force --no-depmod --dry-run --json" ;;
		check) _dkms_reply "$cur" "$common --kernelver --arch --json --all-kernels" ;;
		why) _dkms_reply "$cur" "$common --module -v --kernelver --arch --json" ;;
		log) _dkms_reply "$cur" "$common --module -v --kernelver --arch --follow -f" ;;
		doctor) _dkms_reply "$cur" "$common --kernelver --arch --fix --force --dry-run --json" ;;
		rehearse) _dkms_reply "$cur" "$common --module -v --kernelver --arch --headers --config -j --env --dry-run --json --all-kernels" ;;
		init) _dkms_reply "$cur" "$common --dry-run" ;;
		lint) _dkms_reply "$cur" "$common --kernelver --arch -c --json" ;;
		sign) _dkms_reply "$cur" "$common --kernelver --arch --no-depmod --dry-run" ;;
		mok) _dkms_reply "$cur" "$common --kernelver --password-file --hash-file --dry-run --json" ;;
		generate_mok) _dkms_reply "$cur" "$common --kernelver --dry-run" ;;
		version) _dkms_reply "$cur" "$common --json" ;;
		kernel_*) _dkms_reply "$cur" "$common --kernelver --arch --no-depmod --dry-run" ;;
		esac
		return
	fi

	case $verb in
	'') _dkms_reply "$cur" "$verbs help" ;;
	mok) _dkms_reply "$cur" 'status enroll' ;;
	check | doctor | gc | history | undo | autoinstall | generate_mok | kernel_* | version) ;;
	export) _dkms_first "$cur" "$(_dkms_added)" ;;
	add | build | install | ldtarball | import)
		if [[ -z $module ]]; then
			[[ $verb == ldtarball || $verb == import ]] || _dkms_first "$cur" "$([[ $verb == add ]] || _dkms_added; _dkms_sources /)"
			mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$cur")
			compopt -o filenames 2>/dev/null
		fi
		;;
	lint | rehearse)
		if [[ -z $module ]]; then
			_dkms_first "$cur" "$(_dkms_added)"
			mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -d -- "$cur")
			compopt -o filenames 2>/dev/null
		fi
		;;
	init)
		mapfile -t COMPREPLY < <(compgen -d -- "$cur")
		compopt -o filenames 2>/dev/null
		;;
	match) [[ $module ]] || _dkms_reply "$cur" "$(_dkms_modules)" ;;
	*)
		[[ $module ]] || _dkms_first "$cur" "$(_dkms_added)"
		;;
	esac
}

complete -F _dkms dkms
