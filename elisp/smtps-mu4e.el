;;; smtps-mu4e.el --- mu4e's copies, flags and drafts  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; As soon as its send function has returned, mu4e files the copy for the
;; sent folder, flags the message that was answered or forwarded, deletes
;; the draft and goes back to the headers.  Here this is put into words
;; that are kept with the mail, and done when a server has accepted it.
;;
;; Tried with mu4e 1.8.14.  That mu4e 1.12 keeps its handler in the buffer,
;; and calls its hook otherwise, was read in its source, and not tried.

;;; Code:

(require 'cl-lib)
(require 'smtps)
(require 'smtps-afterwork)
(require 'smtps-message)

(declare-function smtps-send-follow-up "smtps-send" ())
(declare-function mu4e-root-maildir "ext:mu4e-helpers" ())
(declare-function mu4e-running-p "ext:mu4e-server" ())
(declare-function mu4e--server-add "ext:mu4e-server" (path))
(declare-function mu4e--server-move "ext:mu4e-server"
                  (docid-or-msgid &optional maildir flags no-view))
(declare-function mu4e--server-remove "ext:mu4e-server" (docid))
(declare-function mu4e--server-sent "ext:mu4e-server" (path))
(declare-function mu4e~switch-back-to-mu4e-buffer "ext:mu4e-compose" ())
(defvar mu4e-sent-func)

;;;###autoload
(defun smtps-mu4e-prepare ()
  "Prepare the current buffer for what mu4e does no more when it sends.
`smtps-mode' puts this function on `mu4e-compose-mode-hook'."
  ;; mu4e 1.8 sets it for all buffers, and back only when it is called.
  (make-local-variable 'message-fcc-handler-function)
  ;; It goes back to its headers when its server has heard of the mail.
  (when (fboundp 'mu4e~switch-back-to-mu4e-buffer)
    (setq-local message-exit-actions
                (cl-adjoin #'mu4e~switch-back-to-mu4e-buffer
                           message-exit-actions))))

(defun smtps-mu4e-buffer-p ()
  "Return non-nil if mu4e composes in the current buffer."
  (derived-mode-p 'mu4e-compose-mode))

;;; What is to be done

(defconst smtps-mu4e--sent-functions
  '(mu4e~set-sent-handler-message-sent-hook-fn  ; 1.8
    mu4e--compose-message-sent)                 ; 1.12
  "What mu4e has on `message-sent-hook' to flag and delete.")

(defun smtps-mu4e--hook ()
  "Return `message-sent-hook' without what mu4e has there."
  (cl-remove-if (lambda (function) (memq function smtps-mu4e--sent-functions))
                (ensure-list message-sent-hook)))

(defun smtps-mu4e-collect ()
  "Return what is to be done when the mail in this buffer was accepted.
That is a list of forms as they are kept with the mail; those with mu4e as
their `:client' are for `smtps-mu4e-carry-out'."
  (append
   (mapcan #'smtps-mu4e--copy (smtps-message-field-values "Fcc"))
   (smtps-mu4e--parent)
   (and buffer-file-name
        `((draft :client mu4e :file ,(expand-file-name buffer-file-name))))
   (let ((message-sent-hook (smtps-mu4e--hook))
         (message-send-actions nil))
     (smtps-message-function-forms))))

(defun smtps-mu4e--copy (file)
  "Return the forms for a copy in FILE, which Fcc names: a new one in a maildir."
  (when (string-prefix-p "|" file)
    (smtps-afterwork-refuse "Fcc names a program, which mu4e's mail can't have."))
  (let* ((path (expand-file-name file))
         (maildir (directory-file-name
                   (file-name-directory
                    (directory-file-name (file-name-directory path))))))
    `((fcc :kind file :path ,path :field ,(format "Fcc: %s\n" maildir))
      (index :client mu4e :path ,path :what "telling mu of the copy"))))

(defun smtps-mu4e--parent ()
  "Return the form for the message that this buffer's answers or forwards.
As mu4e has it, what has References and no In-Reply-To forwards the last."
  (save-excursion
    (save-restriction
      (message-narrow-to-headers)
      (let ((answers (smtps-mu4e--ids "In-Reply-To"))
            (refers (smtps-mu4e--ids "References")))
        (cond (answers
               `((replied :client mu4e :parent ,(car answers) :how answered)))
              (refers
               `((replied :client mu4e :parent ,(car (last refers))
                          :how forwarded))))))))

(defun smtps-mu4e--ids (field)
  "Return the Message-IDs in the header FIELD, each with its < and >."
  (let ((text (or (message-fetch-field field) ""))
        (start 0) (ids nil))
    (while (string-match "<[^<> \t\n]+>" text start)
      (push (match-string-no-properties 0 text) ids)
      (setq start (match-end 0)))
    (nreverse ids)))

;;; From here on, mu4e leaves it to us

(defun smtps-mu4e-take-over ()
  "Have mu4e do nothing more about the mail in this buffer than to leave it."
  (dolist (file (smtps-message-field-values "Fcc"))
    (smtps-mu4e--make-maildir file))
  (smtps-afterwork-take-variable 'message-sent-hook (smtps-mu4e--hook))
  ;; mu4e 1.12 has there what puts its windows in order.
  (let ((actions message-send-actions))
    (smtps-afterwork-take-variable 'message-send-actions nil)
    (smtps-message-take-over)
    (setq message-send-actions actions))
  ;; Set for all buffers, as it is where smtps-mode came later than the mail.
  (unless (local-variable-p 'message-fcc-handler-function)
    (setq message-fcc-handler-function
          (eval (car (get 'message-fcc-handler-function 'standard-value)) t))))

(defun smtps-mu4e--make-maildir (file)
  "Make the maildir that FILE is to lie in, if it is missing, as mu4e does."
  (let ((cur (directory-file-name (file-name-directory file))))
    (unless (file-directory-p cur)
      (dolist (name '("cur" "new" "tmp"))
        (make-directory (expand-file-name name (file-name-directory cur)) t)))))

;;; Doing it

(defun smtps-mu4e-ready-p (_form)
  "Return non-nil if there is a mu4e that can be told now."
  (and (fboundp 'mu4e-running-p) (mu4e-running-p)
       ;; Just started, it doesn't know its maildir.
       (ignore-errors (mu4e-root-maildir))))

;;;###autoload
(defun smtps-mu4e-resume ()
  "Do what waited for mu4e to be started.
`smtps-mode' puts this function on `mu4e-main-mode-hook'."
  ;; mu4e may be in a process filter.
  (run-at-time 0 nil #'smtps-send-follow-up))

(defun smtps-mu4e-carry-out (form _message)
  "Do FORM, its mail having been accepted by a server.
Signal an error with a sentence if it can't be done."
  (let ((properties (cdr form)))
    (pcase (car form)
      ('index (let ((file (plist-get properties :path)))
                ;; Else mu finds it when it looks itself.
                (when (file-exists-p file)
                  (mu4e--server-add file))))
      ('replied
       (mu4e--server-move (substring (plist-get properties :parent) 1 -1) nil
                          (pcase (plist-get properties :how)
                            ('forwarded "+P-N")
                            (_ "+R-N"))))
      ('draft (smtps-mu4e--end-draft (plist-get properties :file)))
      (kind (smtps-afterwork-refuse "it is nothing that mu4e does: %s." kind)))))

(defun smtps-mu4e--end-draft (file)
  "Have mu4e delete the draft FILE, if it is still there."
  ;; What stands in a file must not have any other deleted.
  (unless (and (string-match-p "/cur/[^/]+\\'" file)
               (file-in-directory-p file (mu4e-root-maildir)))
    (smtps-afterwork-refuse "%s is no draft of mu4e's." file))
  (when (setq file (smtps-mu4e--renamed file))
    (if (fboundp 'mu4e--compose-message-sent)
        (mu4e--server-remove file)
      ;; mu 1.8 deletes by its own number, which it tells when asked so.
      (setq mu4e-sent-func #'smtps-mu4e--delete)
      (mu4e--server-sent file))))

(defun smtps-mu4e--renamed (file)
  "Return what FILE, a message in a maildir, is called now; nil if it is gone.
Programs that synchronise put flags and numbers behind its unique name."
  (let ((name (file-name-nondirectory file)))
    (if (file-exists-p file) file
      (car (directory-files
            (file-name-directory file) t
            (concat "\\`" (regexp-quote (car (split-string name "[,:;!]")))
                    "[,:;!]"))))))

(defun smtps-mu4e--delete (number file)
  "Delete the draft FILE, which is mu's message NUMBER, and its buffer.
The buffer is left if its user keeps such, or looks at it."
  (when (file-exists-p file)
    (mu4e--server-remove number))
  (let ((buffer (get-file-buffer file)))
    (when (and buffer
               (buffer-local-value 'message-kill-buffer-on-exit buffer)
               (not (buffer-modified-p buffer))
               (not (get-buffer-window buffer t)))
      (kill-buffer buffer))))

(provide 'smtps-mu4e)
;;; smtps-mu4e.el ends here
