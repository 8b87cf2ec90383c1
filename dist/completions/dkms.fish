# fish completion for dkms(8): reads directories, does not start dkms.

function __dkms_verbs
    printf '%s\n' add build install uninstall unbuild remove autoinstall status match \
        mktarball ldtarball export import list check why log history doctor gc undo rehearse init lint sign mok generate_mok kernel_preinst kernel_postinst kernel_prerm version
end

function __dkms_kernels
    for dir in /lib/modules/*/
        string replace -r '.*/(.+)/$' '$1' -- $dir
    end
end

# MODULE/VERSION of what is added.
function __dkms_added
    for dir in /var/lib/dkms/*/*/source/
        string replace -r '.*/([^/]+/[^/]+)/source/$' '$1' -- $dir
    end
end

# MODULE/VERSION of the source trees; the version is taken to begin at the
# last dash before a digit.
function __dkms_sources
    for file in /usr/src/*/dkms.conf
        string match -rq '.*/(?<module>[^/]+)-(?<release>[0-9][^/]*)/dkms.conf$' -- $file
        and echo $module/$release
    end
end

# Of MODULE/VERSION, the modules first, and the versions of one that is typed.
function __dkms_first
    set -l word (commandline -ct)
    if string match -q '*/*' -- "$word"
        cat
    else
        sed 's|/.*|/|' | sort -u
    end
end

function __dkms_modules
    begin
        __dkms_added
        __dkms_sources
    end | string replace -r '/.*' '' | sort -u
end

function __dkms_versions
    begin
        __dkms_added
        __dkms_sources
    end | string replace -r '.*/' '' | sort -u
end

function __dkms_verb
    __fish_seen_subcommand_from (__dkms_verbs)
end

function __dkms_in
    __fish_seen_subcommand_from $argv
end

complete -c dkms -f

complete -c dkms -n 'not __dkms_verb' -a add -d 'make a module known'
complete -c dkms -n 'not __dkms_verb' -a build -d 'build a module'
complete -c dkms -n 'not __dkms_verb' -a install -d 'build and install a module'
complete -c dkms -n 'not __dkms_verb' -a uninstall -d 'take a module out of a kernel'
complete -c dkms -n 'not __dkms_verb' -a unbuild -d 'delete what was built'
complete -c dkms -n 'not __dkms_verb' -a remove -d 'forget a module'
complete -c dkms -n 'not __dkms_verb' -a autoinstall -d 'install what is missing for a kernel'
complete -c dkms -n 'not __dkms_verb' -a status -d 'list modules'
complete -c dkms -n 'not __dkms_verb' -a match -d 'install what another kernel has'
complete -c dkms -n 'not __dkms_verb' -a mktarball -d 'pack a module'
complete -c dkms -n 'not __dkms_verb' -a ldtarball -d 'load an archive'
complete -c dkms -n 'not __dkms_verb' -a export -d 'write builds as an image, packages or an extension'
complete -c dkms -n 'not __dkms_verb' -a import -d 'take the builds of an OCI image'
complete -c dkms -n 'not __dkms_verb' -a list -d 'how modules stand for each kernel'
complete -c dkms -n 'not __dkms_verb' -a check -d 'is a kernel safe to boot'
complete -c dkms -n 'not __dkms_verb' -a why -d 'why a module is, or is not, installed'
complete -c dkms -n 'not __dkms_verb' -a log -d 'print the log of the last build'
complete -c dkms -n 'not __dkms_verb' -a doctor -d 'look for what is wrong'
complete -c dkms -n 'not __dkms_verb' -a gc -d 'remove what nothing needs any more'
complete -c dkms -n 'not __dkms_verb' -a undo -d 'bring back what was installed before a run'
complete -c dkms -n 'not __dkms_verb' -a history -d 'list what runs have changed'
complete -c dkms -n 'not __dkms_verb' -a rehearse -d 'would everything build for a kernel'
complete -c dkms -n 'not __dkms_verb' -a init -d 'write dkms.conf for sources'
complete -c dkms -n 'not __dkms_verb' -a lint -d 'judge the sources of a module'
complete -c dkms -n 'not __dkms_verb' -a sign -d 'sign again what is built'
complete -c dkms -n 'not __dkms_verb' -a mok -d 'signing key and trust'
complete -c dkms -n 'not __dkms_verb' -a generate_mok -d 'make the signing key'
complete -c dkms -n 'not __dkms_verb' -a kernel_preinst -d 'drop builds for a kernel to be replaced'
complete -c dkms -n 'not __dkms_verb' -a kernel_postinst -d 'install what is missing for a new kernel'
complete -c dkms -n 'not __dkms_verb' -a kernel_prerm -d 'drop builds for a kernel to be removed'
complete -c dkms -n 'not __dkms_verb' -a version -d 'which dkms this is'
complete -c dkms -n 'not __dkms_verb' -a help -d 'options and examples of a command'

complete -c dkms -n '__dkms_in build install uninstall unbuild remove list status match mktarball export why log lint rehearse sign' -a '(__dkms_added | __dkms_first)'
complete -c dkms -n '__dkms_in mok; and not __dkms_in status enroll' -a 'status enroll'
complete -c dkms -n '__dkms_in add build install' -a '(__dkms_sources | __dkms_first)'
complete -c dkms -n '__dkms_in init' -x -a '(__fish_complete_directories)'
complete -c dkms -n '__dkms_in add build install ldtarball import lint rehearse' -F

complete -c dkms -l verbose -d 'say more'
complete -c dkms -s q -l quiet -d 'show nothing but warnings and errors'
complete -c dkms -l debug -d 'show every program that is started'
complete -c dkms -l dkmstree -x -a '(__fish_complete_directories)' -d 'state tree'
complete -c dkms -l sourcetree -x -a '(__fish_complete_directories)' -d 'source tree'
complete -c dkms -l installtree -x -a '(__fish_complete_directories)' -d 'install tree'
complete -c dkms -l root -x -a '(__fish_complete_directories)' -d 'work on another system'
complete -c dkms -l toolchain -x -a 'host root (__fish_complete_directories)' -d 'with --root, what builds'
complete -c dkms -s h -l help -d 'print a summary'
complete -c dkms -s V -l version -d 'print the version'

set -l one add build install uninstall unbuild remove list status mktarball export import why log
complete -c dkms -n "__dkms_in $one" -s m -l module -x -a '(__dkms_modules)' -d module
complete -c dkms -n "__dkms_in $one" -s v -x -a '(__dkms_versions)' -d version
complete -c dkms -n __dkms_verb -s k -l kernelver -x -a '(__dkms_kernels)' -d kernel
complete -c dkms -n __dkms_verb -s a -l arch -x -d architecture
complete -c dkms -n '__dkms_in log' -s f -l follow -d 'follow the build under way'
complete -c dkms -n 'not __dkms_in status list check why log history lint' -s n -l dry-run -d 'print what would be done'
complete -c dkms -n '__dkms_in add build install mktarball lint' -s c -r -F -d 'dkms.conf to use'
complete -c dkms -n '__dkms_in build install autoinstall rehearse' -l config -r -F -d 'kernel configuration'
complete -c dkms -n '__dkms_in build install autoinstall' -l kernelsourcedir -x -a '(__fish_complete_directories)' -d 'kernel headers'
complete -c dkms -n '__dkms_in build install autoinstall' -l sign -x -a 'never host-key later' -d 'whose key signs'
complete -c dkms -n '__dkms_in build install autoinstall match rehearse' -s j -x -d 'number of compilers'
complete -c dkms -n '__dkms_in add build install' -l directive -x -d 'set a directive'
complete -c dkms -n '__dkms_in add build install mktarball ldtarball export' -l archive -r -F -d archive
complete -c dkms -n '__dkms_in add build install' -l replace -d 'take these sources'
complete -c dkms -n '__dkms_in add build install autoinstall match ldtarball export import doctor' -l force -d 'do it again or all the same'
complete -c dkms -n '__dkms_in install' -l force-version-override -d 'install over a newer version'
complete -c dkms -n '__dkms_in install' -l symlink-modules -d 'install links'
complete -c dkms -n '__dkms_in install' -l modprobe-on-install -d 'load modules for devices'
complete -c dkms -n '__dkms_in install uninstall unbuild remove gc undo autoinstall import kernel_preinst kernel_prerm' -l no-depmod -d 'do not run depmod'
complete -c dkms -n '__dkms_in add install remove' -l rpm_safe_upgrade -d 'called by an RPM package'
complete -c dkms -n '__dkms_in uninstall unbuild remove mktarball' -l all -d 'all kernels'
complete -c dkms -n '__dkms_in mktarball' -l binaries-only -d 'without sources'
complete -c dkms -n '__dkms_in mktarball' -l source-only -d 'without builds'
complete -c dkms -n '__dkms_in match' -l templatekernel -x -a '(__dkms_kernels)' -d template
complete -c dkms -n '__dkms_in status list check why history doctor lint rehearse mok autoinstall export import' -l json -d 'print JSON'
complete -c dkms -n '__dkms_in add build install match autoinstall rehearse doctor kernel_postinst' -l env -x -d 'variable for the build'
complete -c dkms -n '__dkms_in gc' -l keep -x -d 'newest versions that stay'
complete -c dkms -n '__dkms_in gc' -s y -l yes -d 'remove it'
complete -c dkms -n '__dkms_in doctor' -l fix -d 'do what is safe'
complete -c dkms -n '__dkms_in rehearse' -l headers -r -F -d 'kernel headers or packages of them'
complete -c dkms -n '__dkms_in mok' -l password-file -r -F -d 'file with the password'
complete -c dkms -n '__dkms_in mok' -l hash-file -r -F -d 'file with its hash'
complete -c dkms -n '__dkms_in export' -l format -x -a 'oci tar sysext deb rpm pacman apk' -d form
complete -c dkms -n '__dkms_in export' -l packager -x -d 'who answers for the package'
complete -c dkms -n '__dkms_in export' -l depends -x -d 'what the package depends on'
complete -c dkms -n '__dkms_in export' -l busybox -r -F -d 'static busybox for the image'
complete -c dkms -n '__dkms_in import' -l certificate -r -F -d 'certificates to accept'
complete -c dkms -n '__dkms_in import' -l insecure -d 'registry without TLS'
complete -c dkms -n '__dkms_in build install autoinstall rehearse check' -l all-kernels -d 'every kernel of this machine'
