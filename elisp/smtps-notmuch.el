;;; smtps-notmuch.el --- notmuch's copies, tags and drafts  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; notmuch tags the message that was answered, and the draft as deleted,
;; before it sends at all, and files its copy as soon as its send function
;; has returned.  Here this is put into words that are kept with the mail,
;; and done when a server has accepted it.
;;
;; notmuch's functions are on `message-send-hook' for all buffers.  They are
;; made to find nothing: what they go by is hidden while that hook runs.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'smtps)
(require 'smtps-afterwork)
(require 'smtps-message)

(declare-function notmuch-config-get "ext:notmuch-lib" (item))
(declare-function notmuch-draft--mark-deleted "ext:notmuch-draft" ())
(declare-function notmuch-message-apply-queued-tag-changes
                  "ext:notmuch-message" ())
(declare-function notmuch-tag "ext:notmuch-tag"
                  (query tag-changes &optional omit-hist))
(defvar notmuch-command)
(defvar notmuch-draft-id)
(defvar notmuch-maildir-use-notmuch-insert)
(defvar notmuch-message-queued-tag-changes)

(defvar-local smtps-notmuch--hidden nil
  "What notmuch's own functions must not find: a list (CHANGES DRAFT), or nil.")

(defvar-local smtps-notmuch--root nil
  "The directory of notmuch's mail, once it was asked for.")

;;;###autoload
(defun smtps-notmuch-prepare ()
  "Have notmuch tag nothing in this buffer until its mail was sent.
`smtps-mode' puts this function on `notmuch-message-mode-hook'."
  (add-hook 'message-send-hook #'smtps-notmuch--hide -90 t)
  (add-hook 'message-send-hook #'smtps-notmuch--show 90 t)
  ;; For mail that goes another way than by smtps, which takes this over.
  (add-hook 'message-sent-hook #'smtps-notmuch--tag nil t)
  ;; That takes some 10 ms, which the command that sends hasn't got.
  (when (and notmuch-maildir-use-notmuch-insert
             (not (smtps-notmuch--client t)))
    (smtps-notmuch--root)))

(defun smtps-notmuch--hide ()
  "Hide from notmuch which tags it is to change.
What is hidden is kept where another function stops the mail."
  (setq smtps-notmuch--hidden
        (list (or notmuch-message-queued-tag-changes
                  (nth 0 smtps-notmuch--hidden))
              (or notmuch-draft-id (nth 1 smtps-notmuch--hidden)))
        notmuch-message-queued-tag-changes nil
        notmuch-draft-id nil))

(defun smtps-notmuch--show ()
  "Put back what `smtps-notmuch--hide' has hidden."
  (when smtps-notmuch--hidden
    (setq notmuch-message-queued-tag-changes (nth 0 smtps-notmuch--hidden)
          notmuch-draft-id (nth 1 smtps-notmuch--hidden)
          smtps-notmuch--hidden nil)))

(defun smtps-notmuch--tag ()
  "Change the tags that notmuch would have changed before."
  (notmuch-message-apply-queued-tag-changes)
  (notmuch-draft--mark-deleted))

(defun smtps-notmuch-buffer-p ()
  "Return non-nil if notmuch composes in the current buffer."
  (derived-mode-p 'notmuch-message-mode))

;;; What is to be done

(defun smtps-notmuch-collect ()
  "Return what is to be done when the mail in this buffer was accepted.
That is a list of forms as they are kept with the mail; those with
notmuch as their `:client' are for `smtps-notmuch-carry-out'."
  (append
   (mapcar #'smtps-notmuch--copy (smtps-message-field-values "Fcc"))
   (cl-loop for (query . tags) in notmuch-message-queued-tag-changes
            when tags collect (smtps-notmuch--change query tags))
   (and notmuch-draft-id
        (list (smtps-notmuch--change notmuch-draft-id '("+deleted"))))
   (let ((message-sent-hook (remq #'smtps-notmuch--tag
                                  (ensure-list message-sent-hook))))
     (smtps-message-function-forms))))

(defun smtps-notmuch--client (plain)
  "Return properties for a form that only this Emacs can carry out.
That is so if what it asks for is not PLAIN, or if the user has set more
than the helper may know: it runs no program that a file names."
  (unless (and plain (equal notmuch-command "notmuch"))
    '(:client notmuch)))

(defconst smtps-notmuch--id-regexp
  "\\`id:\\(\"?\\)\\([^][(){}*\" \t\n]+\\)\\1\\'"
  "A query for one message, quoted or not; the second group is its Message-ID.")

(defun smtps-notmuch--change (query tags)
  "Return the form to change TAGS, a list, of the messages that match QUERY."
  (if-let ((client (smtps-notmuch--client
                    (and (string-match smtps-notmuch--id-regexp query)
                         (null (bound-and-true-p notmuch-before-tag-hook))
                         (null (bound-and-true-p notmuch-after-tag-hook))))))
      `(tag ,@client :query ,query :tags ,tags)
    `(tag :id ,(match-string 2 query) :tags ,tags)))

(defun smtps-notmuch--copy (value)
  "Return the form for a copy by VALUE, that of an Fcc field.
It is a folder of notmuch's, and tags, or else a maildir."
  (pcase-let ((`(,folder . ,tags) (split-string-and-unquote value))
              (client (smtps-notmuch--client t)))
    (cond
     ((not notmuch-maildir-use-notmuch-insert)
      (smtps-message-file-form value))
     ;; It may be on another machine, for all that is known here.
     (client
      `(fcc :kind notmuch ,@client :folder ,folder :tags ,tags))
     ((file-remote-p folder)
      (smtps-afterwork-refuse "Fcc: %s is no folder of notmuch's." folder))
     (t
      (let ((directory (expand-file-name folder (smtps-notmuch--root))))
        `(fcc :kind notmuch :folder ,folder
              ,@(smtps-notmuch--create folder directory) :tags ,tags
              ;; For a buffer that is not notmuch's.
              :field ,(format "Fcc: %s\n" directory)))))))

(defun smtps-notmuch--root ()
  "Return the directory of notmuch's mail."
  (or smtps-notmuch--root
      (setq smtps-notmuch--root
            (expand-file-name (notmuch-config-get "database.mail_root") "~"))))

(defun smtps-notmuch--create (folder directory)
  "Return properties by which FOLDER is created if its DIRECTORY is missing.
That is asked here; when the copy is filed, nobody may be there any more."
  (cond
   ((file-directory-p directory) nil)
   ((and (smtps-afterwork-can-ask-p)
         (y-or-n-p (format "Fcc: there is no folder %s; create it? " folder)))
    '(:create t))
   (t (smtps-afterwork-refuse "Fcc: there is no folder %s." folder))))

;;; From here on, notmuch leaves it to us

(defun smtps-notmuch-take-over ()
  "Have notmuch do nothing more about the mail in this buffer."
  (smtps-afterwork-take-variable
   'message-sent-hook (remq #'smtps-notmuch--tag
                            (ensure-list message-sent-hook)))
  (smtps-message-take-over))

;;; Doing it

(defun smtps-notmuch-carry-out (form message)
  "Do FORM, the file MESSAGE having been accepted by a server.
Signal an error with a sentence if it can't be done."
  (let ((properties (cdr form)))
    (pcase (car form)
      ('fcc (smtps-notmuch--insert message properties))
      ('tag (notmuch-tag (plist-get properties :query)
                         (plist-get properties :tags) t))
      (kind (smtps-afterwork-refuse "it is nothing that notmuch does: %s." kind)))))

(defun smtps-notmuch--insert (message properties)
  "Put a copy of the file MESSAGE where PROPERTIES, those of a form, say."
  (with-temp-buffer
    (set-buffer-multibyte nil)
    (smtps-afterwork-insert message)
    (let ((status (apply #'call-process-region nil nil notmuch-command t t nil
                         "insert"
                         (concat "--folder=" (plist-get properties :folder))
                         (plist-get properties :tags))))
      (unless (eql status 0)
        (smtps-afterwork-refuse "notmuch says: %s"
                                (string-trim (buffer-string)))))))

(provide 'smtps-notmuch)
;;; smtps-notmuch.el ends here
