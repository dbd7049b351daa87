package manifests

import (
	"fmt"
	"io/fs"
	"path"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// Build does what "kubectl kustomize" does with a directory of source. files are
// laid over source: they are those that are not in git.
func Build(source fs.FS, directory string, files map[string][]byte) ([]byte, error) {
	memory := filesys.MakeFsInMemory()
	err := fs.WalkDir(source, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(source, name)
		if err != nil {
			return err
		}
		return memory.WriteFile(path.Join("/", name), text)
	})
	if err != nil {
		return nil, fmt.Errorf("read the manifests: %w", err)
	}
	for name, text := range files {
		if err := memory.WriteFile(path.Join("/", name), text); err != nil {
			return nil, fmt.Errorf("lay out %s: %w", name, err)
		}
	}
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(memory, path.Join("/", directory))
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", directory, err)
	}
	return resources.AsYaml()
}
