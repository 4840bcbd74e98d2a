;;; smtps-gnus.el --- What Gnus does after sending, done later  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; The client `gnus' of smtps-afterwork.el: Gcc, the mark of the article
;; that is answered, and the draft in nndraft:drafts.

;;; Code:

(require 'cl-lib)
(require 'message)
(require 'gnus)
(require 'gnus-start)
(require 'smtps-afterwork)
(require 'smtps-message)

(declare-function gnus-alive-p "gnus-util" ())
(declare-function gnus-add-marked-articles "gnus-group"
                  (group type articles &optional info force))
(declare-function gnus-check-server "gnus-int" (&optional method silent))
(declare-function gnus-group-get-new-news-this-group "gnus-group"
                  (&optional n dont-scan))
(declare-function gnus-group-mark-article-read "gnus-group" (group article))
(declare-function gnus-inews-group-method "gnus-msg" (group))
(declare-function gnus-request-accept-article "gnus-int"
                  (group &optional gnus-command-method last no-encode))
(declare-function gnus-request-create-group "gnus-int"
                  (group &optional gnus-command-method args))
(declare-function gnus-request-group "gnus-int"
                  (group &optional dont-check gnus-command-method info))
(declare-function gnus-request-head "gnus-int" (article group))
(declare-function gnus-request-set-mark "gnus-int" (group action))
(declare-function gnus-server-opened "gnus-int" (gnus-command-method))
(declare-function gnus-status-message "gnus-int" (gnus-command-method))
(declare-function gnus-summary-mark-article-as-forwarded "gnus-sum" (article))
(declare-function gnus-summary-mark-article-as-replied "gnus-sum" (article))
(declare-function nndraft-request-expire-articles "nndraft"
                  (articles group &optional server force))
(defvar gnus-gcc-mark-as-read)
(defvar gnus-get-new-news-hook)
(defvar gnus-group-buffer)
(defvar gnus-group-marked)
(defvar gnus-message-group-art)
(defvar gnus-newsgroup-name)
(defvar message-draft-article)

(defconst smtps-gnus--gcc-functions
  '(gnus-inews-do-gcc gnus-agent-possibly-do-gcc)
  "The functions on `message-sent-hook' by which Gnus files what Gcc names.")

(defconst smtps-gnus--local
  '(nndiary nnfolder nnmaildir nnmbox nnmh nnml)
  "Backends whose groups are files on this machine: to open them asks nothing.")

(defconst smtps-gnus--marks
  '((gnus-summary-mark-article-as-replied . reply)
    (gnus-summary-mark-article-as-forwarded . forward))
  "The functions that mark articles after sending, and the marks.")

(defun smtps-gnus-buffer-p ()
  "Return non-nil if the current buffer composes a message of Gnus."
  (and (derived-mode-p 'message-mode)
       (or (bound-and-true-p message-draft-article)
           (local-variable-p 'gnus-message-group-art)
           (cl-intersection smtps-gnus--gcc-functions
                            (ensure-list message-sent-hook)))))

(defun smtps-gnus-ready-p (form)
  "Return non-nil if FORM can be done now, since Gnus is running."
  (or (gnus-alive-p) (eq (car form) 'draft)))

(defun smtps-gnus--other-hook ()
  "Return `message-sent-hook' without what files Gcc."
  (cl-set-difference (ensure-list message-sent-hook) smtps-gnus--gcc-functions))

(defun smtps-gnus--mark (action)
  "Return the mark that ACTION of `message-send-actions' is for, or nil.
It is a list (MARK GROUP ARTICLES), or (nil) for no mark at all."
  (pcase action
    (`(when (gnus-buffer-live-p ,_) (with-current-buffer ,_ nil)) '(nil))
    (`(when (gnus-buffer-live-p ,buffer)
        (with-current-buffer ,_ (,function ',articles)))
     (let ((kind (alist-get function smtps-gnus--marks))
           (group (if (get-buffer buffer)
                      (buffer-local-value 'gnus-newsgroup-name
                                          (get-buffer buffer))
                    ;; The summary was left meanwhile.
                    (car-safe (bound-and-true-p gnus-message-group-art)))))
       (when (and kind group (cl-every #'integerp articles))
         (list kind group articles))))))

(defun smtps-gnus--other-actions ()
  "Return `message-send-actions' without those that only mark articles."
  (cl-remove-if #'smtps-gnus--mark message-send-actions))

(defun smtps-gnus-collect ()
  "Return the forms for what Gnus and message.el would do with this buffer."
  (append
   (smtps-gnus--gcc-forms)
   (cl-loop for action in message-send-actions
            for (kind group articles) = (smtps-gnus--mark action)
            when kind
            collect `(replied :client gnus :kind ,kind :group ,group
                              :articles ,articles))
   (smtps-gnus--draft-forms)
   (let ((message-sent-hook (smtps-gnus--other-hook))
         (message-send-actions (smtps-gnus--other-actions)))
     (smtps-message-collect))))

(defun smtps-gnus--gcc-forms ()
  "Return the forms for the copies that Gcc names."
  (when (cl-intersection smtps-gnus--gcc-functions
                         (ensure-list message-sent-hook))
    (let ((values (smtps-message-field-values "Gcc")))
      (cl-loop
       for group in (cl-mapcan (lambda (value)
                                 (message-unquote-tokens
                                  (message-tokenize-header value " ,\n\t")))
                               values)
       for field = (format "Gcc: %s\n" (string-join values ", ")) then nil
       collect `(fcc :kind gcc :client gnus :group ,group
                     ,@(and field (list :field field)))))))

(defun smtps-gnus--draft-forms ()
  "Return the form for the end of this buffer's draft, in a list, or nil."
  (when (and message-draft-article buffer-file-name
             (file-exists-p buffer-file-name))
    `((draft :client gnus :article ,message-draft-article
             :file ,buffer-file-name
             :modified ,(smtps-gnus--modified buffer-file-name)))))

(defun smtps-gnus--modified (file)
  "Return the second in which FILE was written last."
  (time-convert (file-attribute-modification-time (file-attributes file))
                'integer))

(defun smtps-gnus-take-over ()
  "Keep Gnus from doing in the current buffer what is done later."
  (smtps-afterwork-take-header "Gcc")
  (smtps-afterwork-take-variable 'message-sent-hook (smtps-gnus--other-hook))
  (smtps-afterwork-take-variable 'message-send-actions
                                 (smtps-gnus--other-actions))
  (smtps-afterwork-take-variable 'message-draft-article nil)
  (smtps-message-take-over))

;;; Later

(defun smtps-gnus-carry-out (form file)
  "Do FORM with the mail in FILE."
  (pcase (car form)
    ('fcc (smtps-gnus--file (smtps-afterwork--get form :group) file))
    ('replied (smtps-gnus--set-mark (smtps-afterwork--get form :kind)
                                    (smtps-afterwork--get form :group)
                                    (smtps-afterwork--get form :articles)))
    ('draft (smtps-gnus--end-draft (smtps-afterwork--get form :article)
                                   (smtps-afterwork--get form :file)
                                   (smtps-afterwork--get form :modified)))
    (name (smtps-afterwork-refuse "Gnus does not know %s." name))))

(defun smtps-gnus--local-p (method)
  "Return non-nil if the groups of METHOD are files on this machine."
  (pcase-let ((`(,backend ,_ . ,parameters) (gnus-server-to-method method)))
    (and (memq backend smtps-gnus--local)
         (cl-notany #'file-remote-p
                    (cl-remove-if-not #'stringp
                                      (mapcar #'cadr parameters))))))

(defun smtps-gnus--open (method)
  "Open the server of METHOD; signal if that might ask or take long."
  (unless (or (gnus-server-opened method)
              (and (or smtps-afterwork-may-ask (smtps-gnus--local-p method))
                   (gnus-check-server method)))
    (smtps-afterwork-refuse
     (if smtps-afterwork-may-ask "the server %s can't be opened."
       "the server %s is not open.")
     (pcase (gnus-server-to-method method)
       (`(,backend ,address . ,_) (format "%s:%s" backend address))
       (other other)))))

(defun smtps-gnus--file (group file)
  "Store the mail in FILE as a new article of GROUP, as Gnus does for Gcc."
  (let ((method (gnus-inews-group-method group))
        (id (plist-get (smtps-outbox-find smtps-afterwork-id) :message-id)))
    (smtps-gnus--open method)
    (unless (and smtps-afterwork-resumed
                 (ignore-errors (gnus-request-head id group)))
      (unless (gnus-request-group group t method)
        (gnus-request-create-group group method))
      (let ((stored (with-temp-buffer
                      (smtps-afterwork-insert file)
                      (gnus-request-accept-article group method t t))))
        (unless stored
          (smtps-afterwork-refuse "it can't be stored: %s"
                                  (gnus-status-message method)))
        (when (gnus-alive-p)
          (smtps-gnus--show method group stored))))))

(defun smtps-gnus--show (method group stored)
  "Have Gnus show that GROUP of METHOD has the article STORED in it."
  (let ((group (if (and (listp (gnus-server-to-method method))
                        (gnus-native-method-p (gnus-server-to-method method)))
                   (gnus-group-short-name group)
                 group)))
    (if gnus-gcc-mark-as-read
        (gnus-group-mark-article-read group (cdr stored))
      (with-current-buffer gnus-group-buffer
        (let ((gnus-group-marked (list group))
              (gnus-get-new-news-hook nil)
              (inhibit-read-only t))
          (gnus-group-get-new-news-this-group nil t))))))

(defun smtps-gnus--set-mark (kind group articles)
  "Mark ARTICLES of GROUP as answered, or forwarded, by KIND."
  (let ((buffer (get-buffer (gnus-summary-buffer-name group))))
    (if buffer
        (with-current-buffer buffer
          (if (eq kind 'forward)
              (gnus-summary-mark-article-as-forwarded articles)
            (gnus-summary-mark-article-as-replied articles)))
      (gnus-add-marked-articles group kind articles)
      (gnus-request-set-mark group (list (list articles 'add (list kind)))))))

(defun smtps-gnus--end-draft (article file modified)
  "Delete the draft ARTICLE in FILE, which was MODIFIED last in that second."
  (when (file-exists-p file)
    (unless (eql modified (smtps-gnus--modified file))
      (smtps-afterwork-refuse "it was written again since: %s."
                              (abbreviate-file-name file)))
    (require 'nndraft)
    (nndraft-request-expire-articles (list article) "drafts" nil t)))

(provide 'smtps-gnus)
;;; smtps-gnus.el ends here
